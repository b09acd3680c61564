# Shared by all stages: the checked configuration, names of files, interpreters of the stages.

import json
import os
import sys
import time
from pathlib import Path

from snakemake.exceptions import WorkflowError

sys.path.insert(0, str(Path(workflow.basedir) / "scripts"))

from grrm.config import resolve
from grrm.files import UserError, errors_in_logs
from grrm.process import WORKFLOW_PID

try:
    config.update(
        resolve(config, Path(workflow.basedir) / "config/schemas/config.schema.yaml")
    )
except UserError as error:
    raise WorkflowError(str(error))

# `python` in a command is the driver's own interpreter, unless conda provides one.
os.environ.update(
    PATH=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
)
# Scripts end themselves when this process is gone.
os.environ.update({WORKFLOW_PID: str(os.getpid())})

STARTED = time.time()
RESULTS = f"results/{config['experiment']}"
LOGS = f"{RESULTS}/logs"
BENCHMARKS = f"{RESULTS}/benchmarks"

STAGES = ["grrm_sft", "grrm_rlvr", "mt_sft", "mt_grpo"]
TEST_TABLES = ["ranking_test", "translation_test"]
# Each stage's own table, and the held-out ones.
TABLES = {name: f"{RESULTS}/data/{name}.parquet" for name in [*STAGES, *TEST_TABLES]}
# Model before and after its reinforcement learning.
COMPARISONS = {
    "ranking": ["grrm_sft", "grrm_rlvr"],
    "translation": ["mt_sft", "mt_grpo"],
}


def model(stage):
    return f"{RESULTS}/models/{stage}"


def checkpoints(stage):
    return f"{RESULTS}/checkpoints/{stage}"


def curve(stage):
    return f"{RESULTS}/curves/{stage}.jsonl"


def uses_conda():
    return "conda" in {
        method.name.lower() for method in workflow.deployment_settings.deployment_method
    }


def environment_folder(name):
    return f"{config['environments']['folder']}/{name}"


def environment_record(name):
    return f"{environment_folder(name)}.json"


def environment(name):
    """Input of whatever runs in the environment of a stage: its record, unless conda provides it."""
    return [] if uses_conda() else [environment_record(name)]


def python_of(name):
    """Interpreter of the environment of a stage."""
    return "python" if uses_conda() else f"{environment_folder(name)}/bin/python"


def base_model_size(name):
    """Width, layers, heads and feed-forward width of a base model, for make_base_models."""
    size = config["base_models"][name]
    return f"{size['hidden_size']} {size['layers']} {size['heads']} {2 * size['hidden_size']}"


def answers(kind, stages):
    """What the models of some stages answered on the held-out table of a kind."""
    return {stage: f"{RESULTS}/evaluation/{kind}/{stage}.jsonl" for stage in stages}


RANKINGS = answers("ranking", COMPARISONS["ranking"])
TRANSLATIONS = answers("translation", COMPARISONS["translation"])
EVALUATIONS = [
    f"{RESULTS}/evaluation/ranking.json",
    f"{RESULTS}/evaluation/translation.json",
]


def named(files):
    return " ".join(f"{name}={path}" for name, path in files.items())


def settings(*path):
    """A part of the configuration as JSON, for a script's --settings."""
    value = config
    for key in path:
        value = value[key]
    return json.dumps(value)


onerror:
    for error in errors_in_logs(
        [LOGS, config["environments"]["folder"]], since=STARTED
    ):
        print(error)
    print("The same command goes on where this one stopped.")
