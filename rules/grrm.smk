# The generative reward model: SFT cold start (LLaMA-Factory), then RLVR (verl).


# Rows of the validation during RLVR, if there is one.
VALIDATION = validation_rows("grrm_rlvr") if config["grrm_rlvr"]["validation"] else []


rule prepare_grrm_sft:
    input:
        table=TABLES["grrm_sft"],
        leakage=LEAKAGE,
        prompt=prompt("ranking"),
    output:
        rows=prepared("grrm_sft"),
    log:
        f"{LOGS}/prepare_grrm_sft.log",
    benchmark:
        f"{BENCHMARKS}/prepare_grrm_sft.tsv"
    conda:
        "../envs/driver.yaml"
    resources:
        **resources("prepare_grrm_sft"),
    params:
        rows=preparation(),
    message:
        "Preparing the rows of the GRRM's SFT"
    shell:
        "python scripts/prepare_grrm_sft.py --input {input.table:q} --prompt {input.prompt:q} {params.rows:q} "
        "--output {output.rows:q} > {log:q} 2>&1"


use rule render_sft as render_grrm_sft with:
    input:
        deepspeed=deepspeed("grrm_sft"),
    output:
        **rendered_sft("grrm_sft"),
    log:
        f"{LOGS}/render_grrm_sft.log",
    resources:
        **resources("render_grrm_sft"),
    params:
        **stage_params("grrm_sft"),


use rule train_sft as train_grrm_sft with:
    input:
        **sft_input("grrm_sft"),
    output:
        **trained("grrm_sft"),
    log:
        f"{LOGS}/train_grrm_sft.log",
    benchmark:
        f"{BENCHMARKS}/train_grrm_sft.tsv"
    # The longest path: what is shorter may wait.
    priority: 3
    threads: threads("train_grrm_sft")
    resources:
        **resources("train_grrm_sft"),


rule prepare_grrm_rlvr:
    input:
        table=TABLES["grrm_rlvr"],
        leakage=LEAKAGE,
        prompt=prompt("ranking"),
    output:
        rows=prepared("grrm_rlvr"),
    log:
        f"{LOGS}/prepare_grrm_rlvr.log",
    benchmark:
        f"{BENCHMARKS}/prepare_grrm_rlvr.tsv"
    conda:
        "../envs/driver.yaml"
    resources:
        **resources("prepare_grrm_rlvr"),
    params:
        subgroup=config["grrm_rlvr"]["augment"]["subgroup"],
        shuffle=config["grrm_rlvr"]["augment"]["shuffle"],
        rows=preparation(),
        seed=config["seed"],
    message:
        "Preparing the rows of the GRRM's RLVR"
    shell:
        "python scripts/prepare_grrm_rlvr.py --input {input.table:q} --prompt {input.prompt:q} "
        "--subgroup-augment {params.subgroup:q} --shuffle-augment {params.shuffle:q} {params.rows:q} "
        "--seed {params.seed:q} "
        "--output {output.rows:q} > {log:q} 2>&1"


# The held-out groups as they are, for validation during training.
rule prepare_grrm_rlvr_validation:
    input:
        table=(
            f"{RESULTS}/data/test_sets/held_out.parquet"
            if config["data"]["source"] == "hub"
            else TABLES["ranking_test"]
        ),
        prompt=prompt("ranking"),
    output:
        rows=validation_rows("grrm_rlvr"),
    log:
        f"{LOGS}/prepare_grrm_rlvr_validation.log",
    benchmark:
        f"{BENCHMARKS}/prepare_grrm_rlvr_validation.tsv"
    conda:
        "../envs/driver.yaml"
    resources:
        **resources("prepare_grrm_rlvr_validation"),
    message:
        "Preparing the held-out groups for the validation of the GRRM's RLVR"
    shell:
        "python scripts/prepare_grrm_rlvr.py --input {input.table:q} --table ranking_test "
        "--prompt {input.prompt:q} --split test --output {output.rows:q} > {log:q} 2>&1"


rule render_grrm_rlvr:
    output:
        **rendered("grrm_rlvr"),
    log:
        f"{LOGS}/render_grrm_rlvr.log",
    conda:
        "../envs/driver.yaml"
    resources:
        **resources("render_grrm_rlvr"),
    params:
        **stage_params("grrm_rlvr"),
        **CLIPPED,
        hardware=settings("hardware"),
        engine=config["rl_engine"],
        validation=option("--validation-data", VALIDATION),
        seed=config["seed"],
    message:
        "Rendering {output.config}"
    shell:
        "python scripts/render_rl.py --stage grrm_rlvr --settings {params.settings:q} "
        "--hardware {params.hardware:q} --engine {params.engine:q} --model {params.model:q} "
        "--data {params.data:q} {params.validation:q} --checkpoints {params.checkpoints:q} --seed {params.seed:q} "
        "--output {output.config:q} > {log:q} 2>&1"


rule train_grrm_rlvr:
    input:
        **rendered("grrm_rlvr"),
        data=prepared("grrm_rlvr"),
        validation=VALIDATION,
        model=start_of("grrm_rlvr"),
        environment=rl_environment(),
    output:
        **trained("grrm_rlvr"),
    log:
        f"{LOGS}/train_grrm_rlvr.log",
    benchmark:
        f"{BENCHMARKS}/train_grrm_rlvr.tsv"
    priority: 3
    conda:
        f"../envs/{RL}.yaml"
    container:
        training_image(RL, "train_grrm_rlvr")
    threads: threads("train_grrm_rlvr")
    resources:
        **resources("train_grrm_rlvr"),
    params:
        python=rl_python("train_grrm_rlvr"),
        fork=option("--fork", config["fork"]["checkout"]) if FORK else [],
    message:
        "Training {output.model} with verl against verified rankings (progress: {log})"
    shell:
        "python scripts/train_rl.py --config {input.config:q} --data {input.data:q} --python {params.python:q} "
        "{params.fork:q} --model {output.model:q} --curve {output.curve:q} > {log:q} 2>&1"
