# The translation model: SFT (LLaMA-Factory), then GRPO judged by the GRRM (verl).


rule prepare_mt_sft:
    input:
        table=TABLES["mt_sft"],
        leakage=LEAKAGE,
        prompt=prompt("translation"),
        judged=[TABLES["grrm_sft"], JUDGING] if JUDGING else [],
    output:
        rows=prepared("mt_sft"),
    log:
        f"{LOGS}/prepare_mt_sft.log",
    benchmark:
        f"{BENCHMARKS}/prepare_mt_sft.tsv"
    conda:
        "../envs/driver.yaml"
    resources:
        **resources("prepare_mt_sft"),
    params:
        bad_rows=lambda wildcards, input: followed_by(
            config["data"]["bad_rows"], option("--judged", input.judged)
        ),
    message:
        "Preparing the rows of the translation model's SFT"
    shell:
        "python scripts/prepare_mt_sft.py --input {input.table:q} --prompt {input.prompt:q} "
        "--bad-rows {params.bad_rows:q} "
        "--output {output.rows:q} > {log:q} 2>&1"


use rule render_sft as render_mt_sft with:
    input:
        deepspeed=deepspeed("mt_sft"),
    output:
        **rendered_sft("mt_sft"),
    log:
        f"{LOGS}/render_mt_sft.log",
    resources:
        **resources("render_mt_sft"),
    params:
        **stage_params("mt_sft"),


use rule train_sft as train_mt_sft with:
    input:
        **sft_input("mt_sft"),
    output:
        **trained("mt_sft"),
    log:
        f"{LOGS}/train_mt_sft.log",
    benchmark:
        f"{BENCHMARKS}/train_mt_sft.tsv"
    priority: 2
    threads: threads("train_mt_sft")
    resources:
        **resources("train_mt_sft"),


rule prepare_mt_grpo:
    input:
        table=TABLES["mt_grpo"],
        leakage=LEAKAGE,
        prompt=prompt("translation"),
        # What is asked about a row may name columns of it.
        carrying=[prompt_file(reward.partition("=")[2]) for reward in CARRYING],
    output:
        rows=prepared("mt_grpo"),
    log:
        f"{LOGS}/prepare_mt_grpo.log",
    benchmark:
        f"{BENCHMARKS}/prepare_mt_grpo.tsv"
    conda:
        "../envs/driver.yaml"
    resources:
        **resources("prepare_mt_grpo"),
    params:
        rows=[*preparation(), *option("--carry", CARRYING)],
        languages=(
            ["--cross-lingual-augmentation"]
            if config["mt_grpo"]["cross_lingual_augmentation"]
            else []
        ),
        seed=config["seed"],
    message:
        "Preparing the rows of the translation model's GRPO"
    shell:
        "python scripts/prepare_mt_grpo.py --input {input.table:q} --prompt {input.prompt:q} {params.rows:q} "
        "{params.languages:q} --seed {params.seed:q} --output {output.rows:q} > {log:q} 2>&1"


# The same training with every kind of reward that is compared: {run} is mt_grpo or mt_grpo_<kind>.
use rule render_rl as render_mt_grpo with:
    wildcard_constraints:
        run="|".join(GRPO_RUNS),
    resources:
        **resources("render_mt_grpo"),


use rule train_rl as train_mt_grpo with:
    wildcard_constraints:
        run="|".join(GRPO_RUNS),
    threads: threads("train_mt_grpo")
    resources:
        **resources("train_mt_grpo"),
    params:
        keep=lambda wildcards: option(
            "--keep",
            [*CHECKPOINTS.values()] if wildcards.run == "mt_grpo" else [],
        ),
