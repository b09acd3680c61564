# Judges: published rows or the user's own, divided into training and test.


rule split_judge_data:
    input:
        rows=lambda wildcards: judge_sources(wildcards.kind)[0],
    output:
        train=judge_data("{kind}_train"),
        test=judge_data("{kind}_test"),
    log:
        f"{LOGS}/split_judge_data_{{kind}}.log",
    conda:
        "../envs/driver.yaml"
    resources:
        **resources("split_judge_data"),
    params:
        rows=lambda wildcards: judge_sources(wildcards.kind)[1],
        share=JUDGES["data"]["test_share"],
        bad_rows=JUDGES["data"]["bad_rows"],
        seed=config["seed"],
    message:
        "Splitting the rows of kind {wildcards.kind}"
    shell:
        "python scripts/split_judge_data.py --kind {wildcards.kind:q} --input {params.rows:q} "
        "--test-share {params.share:q} --seed {params.seed:q} --bad-rows {params.bad_rows:q} "
        "--train {output.train:q} --test {output.test:q} > {log:q} 2>&1"


# What no model is named for says so where it is needed.
rule make_judge_base:
    input:
        missing_judge_base,
    output:
        model=directory(model("judge_base")),
    resources:
        **resources("make_judge_base"),
