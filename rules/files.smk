# The tables of a user's own files: read, checked, and split where no test set is given.


rule read_files:
    input:
        files=lambda wildcards: OWN_FILES[wildcards.stage].every,
    output:
        table=(
            f"{RESULTS}/data/files/{{stage}}.parquet"
            if HELD_OUT
            else f"{RESULTS}/data/{{stage}}.parquet"
        ),
    log:
        f"{LOGS}/read_files_{{stage}}.log",
    benchmark:
        f"{BENCHMARKS}/read_files_{{stage}}.tsv"
    wildcard_constraints:
        stage="|".join(OWN_FILES),
    conda:
        "../envs/driver.yaml"
    resources:
        **resources("read_files"),
    params:
        given=lambda wildcards: OWN_FILES[wildcards.stage].options,
        rows=lambda wildcards: reading(wildcards.stage),
    message:
        "Reading the files of {wildcards.stage}"
    shell:
        "python scripts/read_files.py {params.rows:q} {params.given:q} --output {output.table:q} > {log:q} 2>&1"


if HELD_OUT:

    rule hold_out:
        input:
            **{name: f"{RESULTS}/data/files/{name}.parquet" for name in OWN_FILES},
        output:
            **{
                name: TABLES[name]
                for name in [*OWN_FILES, *(f"{kind}_test" for kind in HELD_OUT)]
            },
        log:
            f"{LOGS}/hold_out.log",
        benchmark:
            f"{BENCHMARKS}/hold_out.tsv"
        conda:
            "../envs/driver.yaml"
        resources:
            **resources("hold_out"),
        params:
            tables=lambda wildcards, input: named(dict(input.items())),
            tasks=HELD_OUT,
            share=held_out_share(config),
            folder=f"{RESULTS}/data",
            seed=config["seed"],
        message:
            "Holding out what is tested"
        shell:
            "python scripts/hold_out.py --tables {params.tables:q} --tasks {params.tasks:q} --share {params.share:q} "
            "--seed {params.seed:q} --output-folder {params.folder:q} > {log:q} 2>&1"


MISSING = {
    name: path
    for name, path in TABLES.items()
    if name not in OWN_FILES
    and name.removesuffix("_test") not in {*HELD_OUT, *KINDS.values()}
}

# What nothing is given for says so where it is needed.
if MISSING:

    use rule read_files as read_missing_files with:
        input:
            files=missing_table,
        output:
            table=f"{RESULTS}/data/{{stage}}.parquet",
        wildcard_constraints:
            stage="|".join(MISSING),
        resources:
            **resources("read_missing_files"),
