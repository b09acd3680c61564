# Judges: published rows, divided into training and test.


rule split_judge_data:
    input:
        record=lambda wildcards: download_record(judge_sources(wildcards.kind)[0]),
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
        "Splitting the published rows of kind {wildcards.kind}"
    shell:
        "python scripts/split_judge_data.py --kind {wildcards.kind} --input {params.rows} "
        "--test-share {params.share} --seed {params.seed} --bad-rows {params.bad_rows} "
        "--train {output.train} --test {output.test} > {log} 2>&1"
