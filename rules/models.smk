# Models that are taken from elsewhere: a folder, or a model of the hub by its id.

SOURCES = {
    name: model_source(reference, key_of_taken(config, name))
    for name, reference in TAKEN.items()
}
PARTS = {
    name: (
        kind,
        *model_source(
            reference,
            f"{METRICS[name].key}.{kind}",
        ),
    )
    for name, (kind, reference) in PART.items()
    if name in TAKEN and reference
}


if TAKEN:

    localrules:
        take_model,

    workflow.ruleorder(
        *("take_model", "make_base_models"),
        *dict.fromkeys(f"train_{training.rule_name}" for training in PLANNED),
        "train_metric",
    )

    rule take_model:
        input:
            source=lambda wildcards: SOURCES[wildcards.taken][1],
            part=lambda wildcards: PARTS.get(wildcards.taken, [None, None, []])[2],
        output:
            model=directory(model("{taken}")),
        log:
            f"{LOGS}/take_model_{{taken}}.log",
        wildcard_constraints:
            taken="|".join(TAKEN),
        conda:
            "../envs/driver.yaml"
        resources:
            **resources("take_model"),
        params:
            source=lambda wildcards: SOURCES[wildcards.taken][0],
            reference=lambda wildcards: TAKEN[wildcards.taken],
            part=lambda wildcards: (
                "--{} {}".format(*PARTS[wildcards.taken])
                if wildcards.taken in PARTS
                else ""
            ),
            metric=lambda wildcards: "--metric" if wildcards.taken in METRICS else "",
        message:
            "Taking {params.reference} as {wildcards.taken}"
        shell:
            "python scripts/take_model.py --source {params.source} --reference {params.reference} "
            "{params.metric} {params.part} --output {output.model} > {log} 2>&1"
