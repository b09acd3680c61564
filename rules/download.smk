# Published data sets and models, byte for byte as config/datasets.lock.yaml says.


wildcard_constraints:
    dataset="|".join(DATASETS),


rule lock_data:
    output:
        # Entries that are locked stay as they are.
        lock=update(LOCK),
    log:
        f"{LOGS}/lock_data.log",
    conda:
        "../envs/driver.yaml"
    resources:
        **resources("lock_data"),
    params:
        # With one's own files what is read of it, else all of the paper; the others are locked by hand when they
        # are wanted.
        names=[
            name
            for name, entry in DATASETS.items()
            if entry.hub in WANTED
            or name in {TEST_SETS[test_set].entry for test_set in PUBLISHED_TESTS}
            or not (
                entry.settings.get("optional") or config["data"]["source"] == "files"
            )
        ],
    message:
        "Locking revision, size and SHA-256 of the published data"
    shell:
        "python scripts/lock_data.py --lock {output.lock:q} --only {params.names:q} > {log:q} 2>&1"


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
        **resources("download_dataset"),
        downloads=1,
    params:
        folder=f"{DOWNLOADS}/{{dataset}}",
    message:
        "Downloading {wildcards.dataset} (progress: {log})"
    shell:
        "python scripts/download_dataset.py --name {wildcards.dataset:q} --lock {input.lock:q} "
        "--output {params.folder:q} --record {output.record:q} > {log:q} 2>&1"
