# Published data sets and models, byte for byte as config/datasets.lock.yaml says.

from grrm.data.datasets import (
    find_test_sets,
    find_training_files,
    is_current,
    load_datasets,
    load_lock,
)

LOCK = "config/datasets.lock.yaml"
DOWNLOADS = config["data"]["downloads"]

try:
    DATASETS = load_datasets(
        "config/datasets.yaml",
        Path(workflow.basedir) / "config/schemas/datasets.schema.yaml",
    )
    LOCKED = load_lock(LOCK)
    TEST_SETS = find_test_sets(DATASETS)
    TRAINING_FILES = find_training_files(DATASETS)
except UserError as error:
    raise WorkflowError(str(error))


wildcard_constraints:
    dataset="|".join(DATASETS),


def download_record(dataset):
    """Input of a rule that reads a data set or model: it is there, whole and as locked."""
    return f"{DOWNLOADS}/{dataset}.json"


def downloaded(dataset, files):
    return " ".join(f"{DOWNLOADS}/{dataset}/{file}" for file in files)


def lock_of(wildcards):
    """The lock; its time matters for those only whose own lines have changed."""
    same = is_current(download_record(wildcards.dataset), LOCKED.get(wildcards.dataset))
    return ancient(LOCK) if same else LOCK


localrules:
    lock_data,
    download_dataset,


rule lock_data:
    output:
        # Entries that are locked stay as they are.
        lock=update(LOCK),
    log:
        f"{LOGS}/lock_data.log",
    conda:
        "../envs/driver.yaml"
    params:
        # The others are locked by hand when they are wanted.
        names=[
            name
            for name, entry in DATASETS.items()
            if not entry.settings.get("optional") or entry.hub in TAKEN.values()
        ],
    message:
        "Locking revision, size and SHA-256 of the published data"
    shell:
        "python scripts/lock_data.py --lock {output.lock} --only {params.names} > {log} 2>&1"


# The files are no declared outputs: those that are there already and right survive a change of the lock.
rule download_dataset:
    input:
        lock=lock_of,
    output:
        record=f"{DOWNLOADS}/{{dataset}}.json",
    log:
        f"{DOWNLOADS}/{{dataset}}.log",
    conda:
        "../envs/driver.yaml"
    resources:
        downloads=1,
    params:
        folder=f"{DOWNLOADS}/{{dataset}}",
    message:
        "Downloading {wildcards.dataset} (progress: {log})"
    shell:
        "python scripts/download_dataset.py --name {wildcards.dataset} --lock {input.lock} "
        "--output {params.folder} --record {output.record} > {log} 2>&1"
