# Models that are taken from elsewhere: a folder, or a model of config/datasets.yaml by its hub id.

# COMET's checkpoint holds weights only; its encoder's configuration and tokenizer come with it.
ENCODER = config["comet"]["encoder"] if "comet" in TAKEN else None
SOURCES = {
    name: model_source(reference, key_of_taken(config, name))
    for name, reference in TAKEN.items()
}
PARTS = {"comet": model_source(ENCODER, "comet.encoder")} if ENCODER else {}


if TAKEN:

    localrules:
        take_model,

    ruleorder:
        take_model
        > make_base_models
        > train_grrm_sft
        > train_grrm_rlvr
        > train_mt_sft
        > train_mt_grpo
        > train_comet

    rule take_model:
        input:
            source=lambda wildcards: SOURCES[wildcards.taken][1],
            encoder=lambda wildcards: PARTS.get(wildcards.taken, [None, []])[1],
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
            encoder=lambda wildcards: option(
                "--encoder", PARTS.get(wildcards.taken, [None])[0]
            ),
        message:
            "Taking {params.reference} as {wildcards.taken}"
        shell:
            "python scripts/take_model.py --source {params.source} --reference {params.reference} "
            "{params.encoder} --output {output.model} > {log} 2>&1"
