# Published data sets and models, byte for byte as config/datasets.lock.yaml says; test sets as tables; leakage.

from grrm.data.datasets import find_test_sets, load_datasets

DATASETS = load_datasets("config/datasets.yaml", "config/schemas/datasets.schema.yaml")
TEST_SETS = find_test_sets(DATASETS)
DOWNLOADS = config["data"]["downloads"]


wildcard_constraints:
    dataset="|".join(DATASETS),
    test_set="|".join(TEST_SETS),


def download_record(dataset):
    """Input of a rule that reads a data set or model: it is there, whole and as locked."""
    return f"{DOWNLOADS}/{dataset}.json"


def test_set_files(wildcards):
    test_set = TEST_SETS[wildcards.test_set]
    return " ".join(f"{DOWNLOADS}/{test_set.entry}/{file}" for file in test_set.files)


def test_set_pair(wildcards):
    pair = TEST_SETS[wildcards.test_set].pair
    return f"--pair {pair}" if pair else ""


localrules:
    lock_data,
    download_dataset,


rule lock_data:
    output:
        # Entries that are locked stay as they are.
        lock=update("config/datasets.lock.yaml"),
    log:
        f"{LOGS}/lock_data.log",
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
        "{DRIVER} scripts/lock_data.py --lock {output.lock} --only {params.names} > {log} 2>&1"


# The files are no declared outputs: those that are there already and right survive a change of the lock.
rule download_dataset:
    input:
        lock="config/datasets.lock.yaml",
    output:
        record=f"{DOWNLOADS}/{{dataset}}.json",
    log:
        f"{DOWNLOADS}/{{dataset}}.log",
    resources:
        downloads=1,
    params:
        folder=f"{DOWNLOADS}/{{dataset}}",
    message:
        "Downloading {wildcards.dataset} (progress: {log})"
    shell:
        "{DRIVER} scripts/download_dataset.py --name {wildcards.dataset} --lock {input.lock} "
        "--output {params.folder} --record {output.record} > {log} 2>&1"


rule convert_test_set:
    input:
        record=lambda wildcards: download_record(TEST_SETS[wildcards.test_set].entry),
    output:
        table=f"{RESULTS}/data/test_sets/{{test_set}}.parquet",
    log:
        f"{LOGS}/convert_test_set_{{test_set}}.log",
    params:
        format=lambda wildcards: TEST_SETS[wildcards.test_set].format,
        files=test_set_files,
        pair=test_set_pair,
    message:
        "Converting the test set {wildcards.test_set}"
    shell:
        "{DRIVER} scripts/convert_test_set.py --format {params.format} --input {params.files} {params.pair} "
        "--output {output.table} > {log} 2>&1"
