# What made the results: configuration, commit, versions of every environment, lock of the data.


localrules:
    write_provenance,


# Of stages that are run. The models answer in the environment of verl; the fork's is the user's own.
ENVIRONMENTS = sorted(
    {
        RL,
        "comet",
        *(
            [SFT]
            if any(training_of(stage).engine == "sft" for stage in TRAINED)
            else []
        ),
    }
)
# With the driver's own, which prepares the data and scores.
ENVIRONMENT_LOCKS = {name: f"envs/{name}.txt" for name in ["driver", *ENVIRONMENTS]}


# A user's own files, by the keys that name them.
OWN_DATA = {
    given.key: given
    for given in [*OWN_FILES.values(), *(given for _, given in OWN_TESTS.values())]
}


rule write_provenance:
    input:
        # Written anew with the results: it tells of the commit that made them.
        EVALUATIONS,
        [environment(name) for name in ENVIRONMENTS],
        config=rules.write_config.output.config,
        locks=ENVIRONMENT_LOCKS.values(),
        data=(LOCK if config["data"]["source"] == "hub" or PUBLISHED_TESTS else []),
        files=[file for given in OWN_DATA.values() for file in given.every],
    output:
        folder=directory(f"{RESULTS}/provenance"),
    log:
        f"{LOGS}/write_provenance.log",
    conda:
        "../envs/driver.yaml"
    resources:
        **resources("write_provenance"),
    params:
        locks=named(ENVIRONMENT_LOCKS),
        records=option(
            "--records",
            (
                named({name: environment_record(name) for name in ENVIRONMENTS})
                if deployed_by() == "uv"
                else []
            ),
        ),
        fork=option("--pythons", f"fork={config['fork']['python']}") if FORK else [],
        data=lambda wildcards, input: [
            *option("--data-lock", input.data),
            *option("--files", input.get("files", [])),
        ],
    message:
        "Keeping what made the results"
    shell:
        "python scripts/write_provenance.py --config {input.config:q} --locks {params.locks:q} {params.records:q} "
        "{params.fork:q} {params.data:q} --output {output.folder:q} > {log:q} 2>&1"
