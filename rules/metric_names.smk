# What rules about metrics share: which metric is scored where, with which files and options.


def scored_in(environment):
    """The metrics that are scored in an environment, as a wildcard's constraint, which nothing meets without any."""
    names = [
        re.escape(name)
        for name, metric in SEGMENT_METRICS.items()
        if metric.environment == environment
    ]
    return "|".join(names) or "(?!)"


def metric_files(wildcards):
    """Files that a metric reads: those that its settings name, or that of a function of one's own."""
    metric = SEGMENT_METRICS[wildcards.metric]
    named = [metric.settings(config)[key] for key in metric.files]
    return [*named, *([file_of(metric.function)] if metric.function else [])]


def metric_model(wildcards):
    """Folder of a metric's checkpoint, if it has one."""
    return (
        model(wildcards.metric) if SEGMENT_METRICS[wildcards.metric].checkpoint else []
    )


def which_metric(name):
    """Options of score_segments that say what scores: the metric, or a function of one's own, and its settings."""
    metric = SEGMENT_METRICS[name]
    if metric.function:
        free = [] if metric.needs_reference else ["--without-references"]
        return ["--function", metric.function, *free]
    settings = {key: metric.settings(config)[key] for key in metric.options}
    return [
        *("--metric", name),
        *option("--settings", settings and json.dumps(settings)),
    ]
