# What every rule shares: the checked configuration, names of files, interpreters of the stages.

import json
import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

sys.path.insert(0, str(Path(workflow.basedir) / "scripts"))

from grrm.config import resolve
from grrm.files import UserError
from grrm.process import WORKFLOW_PID

try:
    config.update(resolve(config, Path(workflow.basedir) / "config/schemas/config.schema.yaml"))
except UserError as error:
    raise WorkflowError(str(error))

# Scripts end themselves when this process is gone.
os.environ[WORKFLOW_PID] = str(os.getpid())

RESULTS = f"results/{config['experiment']}"
LOGS = f"{RESULTS}/logs"
BENCHMARKS = f"{RESULTS}/benchmarks"
# The driver's own interpreter runs whatever needs no engine.
DRIVER = sys.executable

TABLES = {
    name: f"{RESULTS}/data/{name}.parquet"
    for name in ["grrm_sft", "grrm_rlvr", "mt_sft", "mt_grpo", "ranking_test", "translation_test"]
}
# Model before and after its reinforcement learning.
COMPARISONS = {"ranking": ["grrm_sft", "grrm_rlvr"], "translation": ["mt_sft", "mt_grpo"]}


def model(stage):
    return f"{RESULTS}/models/{stage}"


def checkpoints(stage):
    return f"{RESULTS}/checkpoints/{stage}"


def curve(stage):
    return f"{RESULTS}/curves/{stage}.jsonl"


def uses_conda():
    return "conda" in {method.name.lower() for method in workflow.deployment_settings.deployment_method}


def environment_folder(name):
    return f"{config['environments']['folder']}/{name}"


def environment_record(name):
    return f"{environment_folder(name)}.json"


def environment(name):
    """Input of a rule that runs in the environment of a stage: its record, unless conda provides it."""
    return [] if uses_conda() else [environment_record(name)]


def python_of(name):
    """Interpreter of the environment of a stage."""
    return "python" if uses_conda() else f"{environment_folder(name)}/bin/python"


TRAIN_PYTHON = python_of("train")
COMET_PYTHON = python_of("comet")


def settings(*path):
    """A part of the configuration as JSON, for a script's --settings."""
    value = config
    for key in path:
        value = value[key]
    return json.dumps(value)


onerror:
    print(f"A stage failed: its log is named above (all logs: {LOGS}/). The same command goes on where it stopped.")
