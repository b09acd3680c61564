# Shared by all stages: the checked configuration, names of files, what belongs to a target.

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from snakemake.exceptions import WorkflowError

sys.path.insert(0, str(Path(workflow.basedir) / "scripts"))

from grrm.catalogue.metrics import METRICS, metrics_of
from grrm.catalogue.trainings import OWN_JUDGES, of_part, training_of
from grrm.cluster import (
    caches,
    check_rules,
    load_resources,
    local_rules,
    request,
    requests,
    resources_of_runs,
)
from grrm.catalogue.rewards import KINDS as REWARD_ENTRIES
from grrm.config import (
    STAGES,
    alignment_prompt_of,
    annotation_folder,
    compared_models,
    compared_runs,
    function_files_of,
    grpo_runs,
    has_alignment_judge,
    held_out_share,
    judge_taken_for,
    kept_checkpoints,
    key_of_taken,
    leakage_limits,
    models_here,
    own_files,
    own_judge_files,
    own_test_sets,
    part_checkpoints_of,
    pieces_of,
    planned_trainings,
    prompt_file,
    published_test_sets,
    resolve_experiment,
    scoring_model_of,
    stage_environments,
    taken_models,
    trained_stages,
    translation_prompt_of,
    value_of,
    what_to_give,
)
from grrm.config.rehearsal import RULES as REHEARSING
from grrm.config.rehearsal import (
    judge_at_hand,
    rehearsed,
    released_models,
    start_at_hand,
)
from grrm.config.schema import shown
from grrm.content import model_hash
from grrm.files import UserError, errors_in_logs, read_json, read_yaml
from grrm.functions import check_function, file_of
from grrm.judges.configured_prompts import (
    carrying_rewards,
    check_prompts,
    translation_form,
)
from grrm.lock import hold_workflow
from grrm.process import WORKFLOW_PID
from grrm.prompts import UPSTREAM
from grrm.slurm.containers import write_container_python
from grrm.slurm.queue import AGAIN, check_queue, describe_plan, job_name, own_jobs
from grrm.vllm_cpu import check_processor

try:
    config.update(
        resolve_experiment(
            config,
            Path(workflow.basedir) / "config/schemas/config.schema.yaml",
            os.environ,
            files=workflow.configfiles,
        )
    )
    RESOURCES = load_resources(
        "config/resources.yaml",
        Path(workflow.basedir) / "config/schemas/resources.schema.yaml",
        changes=config["resources"],
    )
    check_prompts(config)
    for metric in metrics_of(config):
        if metric.function:
            check_function(metric.function, f"evaluate.metrics, {metric.name}")
except UserError as error:
    raise WorkflowError(str(error))

# `python` in a command is the driver's own interpreter, unless conda provides one.
os.environ.update(
    PATH=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
)
# Scripts end themselves when this process is gone.
os.environ.update({WORKFLOW_PID: str(os.getpid())})
os.environ.update(
    GRRM_TRACKER=config["tracker"],
    GRRM_STOP_BEFORE=str(config["cluster"]["stop_before"]),
    GRRM_INTERFACE=config["cluster"]["interface"] or "",
)

# On a compute node this file is read again, with what is set there.
os.environ.update(
    caches(
        config["cluster"],
        config["hardware"]["device"],
        os.environ,
        tempfile.gettempdir(),
    )
)

STARTED = time.time()
RESULTS = f"results/{config['experiment']}"
LOGS = f"{RESULTS}/logs"
BENCHMARKS = f"{RESULTS}/benchmarks"

# The driver's own interpreter, unless conda provides one.
DRIVER = "python"

TEST_TABLES = ["ranking_test", "translation_test"]
# Each stage's own table, and the held-out ones.
TABLES = {name: f"{RESULTS}/data/{name}.parquet" for name in [*STAGES, *TEST_TABLES]}

CUDA = config["hardware"]["device"] == "cuda"
FORK = config["rl_engine"] == "gen_rm_fork"
SFT, RL = stage_environments(config)
if RL == "vllm_cpu":
    try:
        check_processor()
    except UserError as error:
        raise WorkflowError(str(error))

# Trainings that the configuration has.
PLANNED = planned_trainings(config)
# Models that are taken instead of made, those that are compared, and the stages that are run for them.
TAKEN = taken_models(config)
COMPARISONS = compared_models(config)
TRAINED = trained_stages(config)
# Metrics of segments, by name.
SEGMENT_METRICS = {metric.name: metric for metric in metrics_of(config)}
# What is not in a metric's checkpoint: configuration and tokenizer of COMET's encoder, tokenizer of MetricX.
PART = {
    name: (part, metric.settings(config)[part])
    for name, metric in METRICS.items()
    for part in metric.parts
}
# All that is read of other people's models, each a folder or a hub id.
WANTED = {
    *TAKEN.values(),
    *(PART[name][1] for name in PART if name in TAKEN),
    *models_here(config).values(),
    *released_models(config),
} - {None}


def model(stage):
    return f"{RESULTS}/models/{stage}"


def checkpoints(stage):
    return f"{RESULTS}/checkpoints/{stage}"


def curve(stage):
    return f"{RESULTS}/curves/{stage}.jsonl"


def upstream_prompt(kind):
    return f"{RESULTS}/prompts/{kind}.yaml"


def prompt(kind):
    """File of a prompt: the one that the configuration names, or the authors' own."""
    path = config["prompts"][kind]
    return upstream_prompt(kind) if path == UPSTREAM else path


def option(name, value):
    """Words of a command-line option with its value or values, none without; {params.x:q} quotes each."""
    values = value if isinstance(value, list) else [value]
    return [name, *map(str, values)] if value else []


def too_long(data):
    """Words of what becomes of rows over cutoff_len, where they are to be dropped (the default refuses them)."""
    return option("--bad-rows", data["bad_rows"]) if data["bad_rows"] != "error" else []


def followed_by(word, options):
    """A word with options behind it; without any, the word itself."""
    return [word, *options] if options else word


def flags(given):
    """Words of options, each with one value."""
    return [str(word) for pair in given.items() for word in pair]


def answering(kind):
    """Options of a program that asks a model for rankings or translations."""
    asked, how = config["evaluate"], config["evaluate"][kind]
    backend = asked["backend"]
    if backend == "auto":
        backend = "openai" if asked["base_url"] else "vllm" if CUDA else "transformers"
    given = {
        "--max-new-tokens": how["max_new_tokens"],
        "--temperature": how["temperature"],
        "--top-p": how["top_p"],
        "--retries": asked["retries"],
        "--backend": backend,
        "--batch-size": asked["batch_size"],
        "--gpus": asked["gpus"],
    }
    # Snakemake asks again after a change of model or settings: what is left from before is of no use.
    return ["--discard-stale", *flags(given), *option("--base-url", asked["base_url"])]


def preparation():
    """How source rows become rows of training."""
    return flags(
        {
            f"--{key.replace('_', '-')}": config["data"][key]
            for key in ("semantics", "bad_rows")
        }
    )


def base_model_size(name):
    """Width, layers, heads and feed-forward width of a base model, for make_base_models."""
    return model_size(config["base_models"][name])


def model_size(size):
    return [size["hidden_size"], size["layers"], size["heads"], 2 * size["hidden_size"]]


def answers(kind, stages):
    """What the models of some stages answered on the held-out table of a kind."""
    return {stage: f"{RESULTS}/evaluation/{kind}/{stage}.jsonl" for stage in stages}


RANKINGS = answers("ranking", COMPARISONS["ranking"])
TRANSLATIONS = answers("translation", COMPARISONS["translation"])
# Models on the way of GRPO by their step.
CHECKPOINTS = {f"mt_grpo_{step}": step for step in kept_checkpoints(config)}
CHECKPOINT_TRANSLATIONS = answers("translation", CHECKPOINTS)
# Scores of translations by models: metric -> file.
SEGMENT_SCORES = {
    metric: f"{RESULTS}/evaluation/{metric}.json" for metric in SEGMENT_METRICS
}
EVALUATIONS = [
    f"{RESULTS}/evaluation/ranking.json",
    f"{RESULTS}/evaluation/translation.json",
    *([f"{RESULTS}/evaluation/checkpoints.json"] if CHECKPOINTS else []),
]


# Who makes ranking data, if somebody does.
TEACHER = config.get("teacher")
ANNOTATION = annotation_folder(config)
ANNOTATION_PAGE = f"{RESULTS}/report/annotation.html"
ALIGNMENT_SUMMARY = f"{RESULTS}/alignment.json"
REWARD_KINDS = f"{RESULTS}/evaluation/reward_kinds.json"
# Part of everything that is made, if it is asked for.
REWARD_COMPARISON = REWARD_KINDS if config["reward_comparison"] else []


def alignment_target(wildcards):
    if config["alignment"] is None:
        raise WorkflowError(
            "key 'alignment' is not set; snakemake --cores 2 alignment_grpo --configfile config/judges.yaml is the "
            "demonstration"
        )
    # With the configuration, in which variables of the environment are recorded.
    return [ALIGNMENT_SUMMARY, rules.write_config.output.config]


def reward_kinds_target(wildcards):
    if not COMPARED_KINDS:
        raise WorkflowError(
            "key 'reward_comparison' is empty, and mt_grpo trains nothing; name the kinds of reward to compare, "
            "such as [bleu, chrf]"
        )
    return REWARD_KINDS


def judge_comparison_target(wildcards):
    entries = [
        entry for entry in config["reward_comparison"] if not isinstance(entry, str)
    ]
    if not any(entry.get("model") in OWN_JUDGES for entry in entries):
        raise WorkflowError(
            "this configuration compares no judges of the experiment's own; add --configfile "
            "config/judge_comparison.yaml"
        )
    return [REWARD_KINDS, f"{RESULTS}/summary.md", rules.render_page.output.page]


def annotation_target(wildcards):
    if TEACHER is None:
        raise WorkflowError(
            "this configuration has no section 'teacher'; docs/teacher.md says what goes into it"
        )
    return ANNOTATION_PAGE


def rehearsal_target(wildcards):
    if "rehearsal" not in config:
        raise WorkflowError(
            "this configuration has no section 'rehearsal'; add config/rehearsal.yaml behind --configfile"
        )
    # The outcomes too: the page is also written, of what there is, when one of them has failed.
    return [
        rules.report_rehearsal.output.report,
        *rules.report_rehearsal.input.outcomes,
    ]


def judge_targets(*paths):
    """Input of a target; without the section `judges`, an error that says how to get one."""

    def found(wildcards):
        if config["judges"] is None:
            raise WorkflowError(
                "this configuration has no section 'judges'; add --configfile config/judges.yaml "
                "(two CPU cores) or config/judges_paper.yaml (GPUs)"
            )
        return paths

    return found


def named(files):
    """Words name=path, one for each."""
    return [f"{name}={path}" for name, path in files.items()]


def settings(*path):
    """A part of the configuration as JSON, for a script's --settings; by default what makes the experiment."""
    # Where it runs is no part of it, nor that it was rehearsed.
    value = {
        key: part
        for key, part in config.items()
        if key not in ("cluster", "resources", "rehearsal")
    }
    for key in path:
        value = value[key]
    return json.dumps(value)


# What is still said when a run ends with errors.
AFTER_ERRORS = []


onerror:
    for error in errors_in_logs(
        [LOGS, config["environments"]["folder"]], since=STARTED
    ):
        print(error)
    for report in AFTER_ERRORS:
        report()
    print("The same command goes on where this one stopped.")
