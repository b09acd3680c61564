# The translation model: SFT (LLaMA-Factory), then GRPO judged by the GRRM (verl).


rule prepare_mt_sft:
    input:
        table=TABLES["mt_sft"],
        prompt=config["prompts"]["translation"],
    output:
        rows=f"{RESULTS}/prepared/mt_sft.jsonl",
    log:
        f"{LOGS}/prepare_mt_sft.log",
    benchmark:
        f"{BENCHMARKS}/prepare_mt_sft.tsv"
    conda:
        "../envs/driver.yaml"
    message:
        "Preparing the rows of the translation model's SFT"
    shell:
        "python scripts/prepare_mt_sft.py --input {input.table} --prompt {input.prompt} "
        "--output {output.rows} > {log} 2>&1"


rule render_mt_sft:
    output:
        config=f"{RESULTS}/configs/mt_sft.yaml",
        dataset_info=f"{RESULTS}/configs/mt_sft/dataset_info.json",
    log:
        f"{LOGS}/render_mt_sft.log",
    conda:
        "../envs/driver.yaml"
    params:
        settings=settings("mt_sft"),
        model=model("mt_base"),
        data=f"{RESULTS}/prepared/mt_sft.jsonl",
        checkpoints=checkpoints("mt_sft"),
        seed=config["seed"],
    message:
        "Rendering {output.config}"
    shell:
        "python scripts/render_sft.py --settings {params.settings:q} --model {params.model} "
        "--data {params.data} --checkpoints {params.checkpoints} --seed {params.seed} "
        "--output {output.config} --dataset-info {output.dataset_info} > {log} 2>&1"


rule train_mt_sft:
    input:
        config=rules.render_mt_sft.output.config,
        dataset_info=rules.render_mt_sft.output.dataset_info,
        data=rules.prepare_mt_sft.output.rows,
        model=model("mt_base"),
        environment=environment("train"),
    output:
        model=directory(model("mt_sft")),
        curve=curve("mt_sft"),
    log:
        f"{LOGS}/train_mt_sft.log",
    benchmark:
        f"{BENCHMARKS}/train_mt_sft.tsv"
    conda:
        "../envs/train.yaml"
    threads: config["mt_sft"]["threads"]
    params:
        python=python_of("train"),
    message:
        "Finetuning {output.model} with LLaMA-Factory (progress: {log})"
    shell:
        "python scripts/train_sft.py --config {input.config} --data {input.data} --python {params.python} "
        "--model {output.model} --curve {output.curve} > {log} 2>&1"


rule prepare_mt_grpo:
    input:
        table=TABLES["mt_grpo"],
        prompt=config["prompts"]["translation"],
    output:
        rows=f"{RESULTS}/prepared/mt_grpo.parquet",
    log:
        f"{LOGS}/prepare_mt_grpo.log",
    benchmark:
        f"{BENCHMARKS}/prepare_mt_grpo.tsv"
    conda:
        "../envs/driver.yaml"
    params:
        seed=config["seed"],
    message:
        "Preparing the rows of the translation model's GRPO"
    shell:
        "python scripts/prepare_mt_grpo.py --input {input.table} --prompt {input.prompt} "
        "--seed {params.seed} --output {output.rows} > {log} 2>&1"


rule render_mt_grpo:
    output:
        config=f"{RESULTS}/configs/mt_grpo.yaml",
    log:
        f"{LOGS}/render_mt_grpo.log",
    conda:
        "../envs/driver.yaml"
    params:
        settings=settings("mt_grpo"),
        model=model("mt_sft"),
        data=f"{RESULTS}/prepared/mt_grpo.parquet",
        judge=model("grrm_rlvr"),
        judge_prompt=config["prompts"]["ranking"],
        checkpoints=checkpoints("mt_grpo"),
        seed=config["seed"],
    message:
        "Rendering {output.config}"
    shell:
        "python scripts/render_rl.py --stage mt_grpo --settings {params.settings:q} --model {params.model} "
        "--data {params.data} --reward-model {params.judge} --ranking-prompt {params.judge_prompt} "
        "--checkpoints {params.checkpoints} --seed {params.seed} --output {output.config} > {log} 2>&1"


rule train_mt_grpo:
    input:
        config=rules.render_mt_grpo.output.config,
        data=rules.prepare_mt_grpo.output.rows,
        model=model("mt_sft"),
        judge=model("grrm_rlvr"),
        judge_prompt=config["prompts"]["ranking"],
        environment=environment("train"),
    output:
        model=directory(model("mt_grpo")),
        curve=curve("mt_grpo"),
        judgements=f"{RESULTS}/curves/mt_grpo.judgements.jsonl",
    log:
        f"{LOGS}/train_mt_grpo.log",
    benchmark:
        f"{BENCHMARKS}/train_mt_grpo.tsv"
    conda:
        "../envs/train.yaml"
    threads: config["mt_grpo"]["threads"]
    params:
        python=python_of("train"),
    message:
        "Training {output.model} with verl, judged group by group by the GRRM (progress: {log})"
    shell:
        "python scripts/train_rl.py --config {input.config} --data {input.data} --python {params.python} "
        "--model {output.model} --curve {output.curve} --judgements {output.judgements} > {log} 2>&1"
