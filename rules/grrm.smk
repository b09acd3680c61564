# The generative reward model: SFT cold start (LLaMA-Factory), then RLVR (verl).


localrules:
    render_grrm_sft,
    render_grrm_rlvr,


rule prepare_grrm_sft:
    input:
        table=TABLES["grrm_sft"],
        leakage=LEAKAGE,
        prompt=prompt("ranking"),
    output:
        rows=f"{RESULTS}/prepared/grrm_sft.jsonl",
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
        "python scripts/prepare_grrm_sft.py --input {input.table} --prompt {input.prompt} {params.rows} "
        "--output {output.rows} > {log} 2>&1"


rule render_grrm_sft:
    input:
        deepspeed=deepspeed("grrm_sft"),
    output:
        config=f"{RESULTS}/configs/grrm_sft.yaml",
        dataset_info=f"{RESULTS}/configs/grrm_sft/dataset_info.json",
    log:
        f"{LOGS}/render_grrm_sft.log",
    conda:
        "../envs/driver.yaml"
    resources:
        **resources("render_grrm_sft"),
    params:
        settings=settings("grrm_sft"),
        hardware=settings("hardware"),
        deepspeed=lambda wildcards, input: option("--deepspeed", input.deepspeed),
        model=model("grrm_base"),
        data=f"{RESULTS}/prepared/grrm_sft.jsonl",
        checkpoints=checkpoints("grrm_sft"),
        seed=config["seed"],
    message:
        "Rendering {output.config}"
    shell:
        "python scripts/render_sft.py --settings {params.settings:q} --hardware {params.hardware:q} "
        "{params.deepspeed} --model {params.model} --data {params.data} "
        "--checkpoints {params.checkpoints} --seed {params.seed} "
        "--output {output.config} --dataset-info {output.dataset_info} > {log} 2>&1"


rule train_grrm_sft:
    input:
        config=rules.render_grrm_sft.output.config,
        dataset_info=rules.render_grrm_sft.output.dataset_info,
        data=rules.prepare_grrm_sft.output.rows,
        model=model("grrm_base"),
        environment=environment(SFT),
    output:
        model=directory(model("grrm_sft")),
        curve=curve("grrm_sft"),
    log:
        f"{LOGS}/train_grrm_sft.log",
    benchmark:
        f"{BENCHMARKS}/train_grrm_sft.tsv"
    # The longest path: what is shorter may wait.
    priority: 3
    conda:
        f"../envs/{SFT}.yaml"
    container:
        image(SFT)
    threads: threads("train_grrm_sft")
    resources:
        **resources("train_grrm_sft"),
    params:
        python=python_of(SFT),
        hardware=f"--nodes {config['hardware']['nodes']} --devices {config['hardware']['gpus_per_node']}",
    message:
        "Finetuning {output.model} with LLaMA-Factory (progress: {log})"
    shell:
        "python scripts/train_sft.py --config {input.config} --data {input.data} --python {params.python} "
        "{params.hardware} --model {output.model} --curve {output.curve} > {log} 2>&1"


rule prepare_grrm_rlvr:
    input:
        table=TABLES["grrm_rlvr"],
        leakage=LEAKAGE,
        prompt=prompt("ranking"),
    output:
        rows=f"{RESULTS}/prepared/grrm_rlvr.parquet",
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
        "python scripts/prepare_grrm_rlvr.py --input {input.table} --prompt {input.prompt} "
        "--subgroup-augment {params.subgroup} --shuffle-augment {params.shuffle} {params.rows} "
        "--seed {params.seed} "
        "--output {output.rows} > {log} 2>&1"


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
        rows=f"{RESULTS}/prepared/grrm_rlvr_validation.parquet",
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
        "python scripts/prepare_grrm_rlvr.py --input {input.table} --table ranking_test "
        "--prompt {input.prompt} --split test --output {output.rows} > {log} 2>&1"


rule render_grrm_rlvr:
    output:
        config=f"{RESULTS}/configs/grrm_rlvr.yaml",
    log:
        f"{LOGS}/render_grrm_rlvr.log",
    conda:
        "../envs/driver.yaml"
    resources:
        **resources("render_grrm_rlvr"),
    params:
        settings=settings("grrm_rlvr"),
        hardware=settings("hardware"),
        engine=config["rl_engine"],
        model=model("grrm_sft"),
        data=f"{RESULTS}/prepared/grrm_rlvr.parquet",
        validation=option("--validation-data", VALIDATION),
        checkpoints=checkpoints("grrm_rlvr"),
        seed=config["seed"],
    message:
        "Rendering {output.config}"
    shell:
        "python scripts/render_rl.py --stage grrm_rlvr --settings {params.settings:q} "
        "--hardware {params.hardware:q} --engine {params.engine} --model {params.model} "
        "--data {params.data} {params.validation} --checkpoints {params.checkpoints} --seed {params.seed} "
        "--output {output.config} > {log} 2>&1"


rule train_grrm_rlvr:
    input:
        config=rules.render_grrm_rlvr.output.config,
        data=rules.prepare_grrm_rlvr.output.rows,
        validation=VALIDATION,
        model=model("grrm_sft"),
        environment=rl_environment(),
    output:
        model=directory(model("grrm_rlvr")),
        curve=curve("grrm_rlvr"),
    log:
        f"{LOGS}/train_grrm_rlvr.log",
    benchmark:
        f"{BENCHMARKS}/train_grrm_rlvr.tsv"
    priority: 3
    conda:
        f"../envs/{RL}.yaml"
    container:
        image(RL)
    threads: threads("train_grrm_rlvr")
    resources:
        **resources("train_grrm_rlvr"),
    params:
        python=rl_python(),
        fork=option("--fork", config["fork"]["checkout"]) if FORK else "",
    message:
        "Training {output.model} with verl against verified rankings (progress: {log})"
    shell:
        "python scripts/train_rl.py --config {input.config} --data {input.data} --python {params.python} "
        "{params.fork} --model {output.model} --curve {output.curve} > {log} 2>&1"
