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


# Folders of the user's own among them; downloads have their records.
OWN_FOLDERS = {
    name: [
        folder
        for folder, record in [
            SOURCES[name],
            *([PARTS[name][1:]] if name in PARTS else []),
        ]
        if folder == record
    ]
    for name in SOURCES
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
                option(f"--{PARTS[wildcards.taken][0]}", PARTS[wildcards.taken][1])
                if wildcards.taken in PARTS
                else []
            ),
            # No option: with other files in a folder it is taken anew.
            content=lambda wildcards: [*map(model_hash, OWN_FOLDERS[wildcards.taken])],
            metric=lambda wildcards: ["--metric"] if wildcards.taken in METRICS else [],
        message:
            "Taking {params.reference} as {wildcards.taken}"
        shell:
            "python scripts/take_model.py --source {params.source:q} --reference {params.reference:q} "
            "{params.metric:q} {params.part:q} --output {output.model:q} > {log:q} 2>&1"
