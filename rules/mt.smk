# The translation model: SFT (LLaMA-Factory), then GRPO judged by the GRRM (verl).


localrules:
    render_mt_sft,
    render_mt_grpo,


rule prepare_mt_sft:
    input:
        table=TABLES["mt_sft"],
        leakage=LEAKAGE,
        prompt=prompt("translation"),
    output:
        rows=f"{RESULTS}/prepared/mt_sft.jsonl",
    log:
        f"{LOGS}/prepare_mt_sft.log",
    benchmark:
        f"{BENCHMARKS}/prepare_mt_sft.tsv"
    conda:
        "../envs/driver.yaml"
    resources:
        **resources("prepare_mt_sft"),
    params:
        bad_rows=config["data"]["bad_rows"],
    message:
        "Preparing the rows of the translation model's SFT"
    shell:
        "python scripts/prepare_mt_sft.py --input {input.table} --prompt {input.prompt} "
        "--bad-rows {params.bad_rows} "
        "--output {output.rows} > {log} 2>&1"


rule render_mt_sft:
    input:
        deepspeed=deepspeed("mt_sft"),
    output:
        config=f"{RESULTS}/configs/mt_sft.yaml",
        dataset_info=f"{RESULTS}/configs/mt_sft/dataset_info.json",
    log:
        f"{LOGS}/render_mt_sft.log",
    conda:
        "../envs/driver.yaml"
    resources:
        **resources("render_mt_sft"),
    params:
        settings=settings("mt_sft"),
        hardware=settings("hardware"),
        deepspeed=lambda wildcards, input: option("--deepspeed", input.deepspeed),
        model=model("mt_base"),
        data=f"{RESULTS}/prepared/mt_sft.jsonl",
        checkpoints=checkpoints("mt_sft"),
        seed=config["seed"],
    message:
        "Rendering {output.config}"
    shell:
        "python scripts/render_sft.py --settings {params.settings:q} --hardware {params.hardware:q} "
        "{params.deepspeed} --model {params.model} --data {params.data} "
        "--checkpoints {params.checkpoints} --seed {params.seed} "
        "--output {output.config} --dataset-info {output.dataset_info} > {log} 2>&1"


rule train_mt_sft:
    input:
        config=rules.render_mt_sft.output.config,
        dataset_info=rules.render_mt_sft.output.dataset_info,
        data=rules.prepare_mt_sft.output.rows,
        model=model("mt_base"),
        environment=environment(SFT),
    output:
        model=directory(model("mt_sft")),
        curve=curve("mt_sft"),
    log:
        f"{LOGS}/train_mt_sft.log",
    benchmark:
        f"{BENCHMARKS}/train_mt_sft.tsv"
    priority: 2
    conda:
        f"../envs/{SFT}.yaml"
    container:
        image(SFT)
    threads: threads("train_mt_sft")
    resources:
        **resources("train_mt_sft"),
    params:
        python=python_of(SFT),
        hardware=f"--nodes {config['hardware']['nodes']} --devices {config['hardware']['gpus_per_node']}",
    message:
        "Finetuning {output.model} with LLaMA-Factory (progress: {log})"
    shell:
        "python scripts/train_sft.py --config {input.config} --data {input.data} --python {params.python} "
        "{params.hardware} --model {output.model} --curve {output.curve} > {log} 2>&1"


rule prepare_mt_grpo:
    input:
        table=TABLES["mt_grpo"],
        leakage=LEAKAGE,
        prompt=prompt("translation"),
        # What is asked about a row may name columns of it.
        carrying=[prompt_file(reward.partition("=")[2]) for reward in CARRYING],
    output:
        rows=f"{RESULTS}/prepared/mt_grpo.parquet",
    log:
        f"{LOGS}/prepare_mt_grpo.log",
    benchmark:
        f"{BENCHMARKS}/prepare_mt_grpo.tsv"
    conda:
        "../envs/driver.yaml"
    resources:
        **resources("prepare_mt_grpo"),
    params:
        rows=f"{preparation()} {option('--carry', words(CARRYING))}".strip(),
        languages=(
            "--cross-lingual-augmentation"
            if config["mt_grpo"]["cross_lingual_augmentation"]
            else ""
        ),
        seed=config["seed"],
    message:
        "Preparing the rows of the translation model's GRPO"
    shell:
        "python scripts/prepare_mt_grpo.py --input {input.table} --prompt {input.prompt} {params.rows} "
        "{params.languages} --seed {params.seed} --output {output.rows} > {log} 2>&1"


# The same training with every kind of reward that is compared: {run} is mt_grpo or mt_grpo_<kind>.
rule render_mt_grpo:
    output:
        config=f"{RESULTS}/configs/{{run}}.yaml",
    log:
        f"{LOGS}/render_{{run}}.log",
    wildcard_constraints:
        run="|".join(GRPO_RUNS),
    conda:
        "../envs/driver.yaml"
    resources:
        **resources("render_mt_grpo"),
    params:
        settings=lambda wildcards: json.dumps(
            {**config["mt_grpo"], "reward": GRPO_RUNS[wildcards.run]}
        ),
        hardware=settings("hardware"),
        engine=config["rl_engine"],
        model=model("mt_sft"),
        data=f"{RESULTS}/prepared/mt_grpo.parquet",
        judge=lambda wildcards: option("--reward-model", scoring_model(wildcards)),
        judge_prompt=lambda wildcards: option("--judge-prompt", judge_prompt(wildcards)),
        scorer=lambda wildcards: option("--scorer-python", scoring_python(wildcards)),
        checkpoints=lambda wildcards: checkpoints(wildcards.run),
        seed=config["seed"],
    message:
        "Rendering {output.config}"
    shell:
        "python scripts/render_rl.py --stage {wildcards.run} --settings {params.settings:q} "
        "--hardware {params.hardware:q} --engine {params.engine} --model {params.model} "
        "--data {params.data} {params.judge} {params.judge_prompt} {params.scorer} "
        "--checkpoints {params.checkpoints} --seed {params.seed} --output {output.config} > {log} 2>&1"


rule train_mt_grpo:
    input:
        config=rules.render_mt_grpo.output.config,
        data=rules.prepare_mt_grpo.output.rows,
        model=model("mt_sft"),
        judge=lambda wildcards: scoring_model(wildcards) or [],
        judge_prompt=lambda wildcards: prompt_file(judge_prompt(wildcards)),
        environment=rl_environment(),
        scorer_environment=lambda wildcards: (
            environment("comet") if scoring_python(wildcards) else []
        ),
    output:
        model=directory(model("{run}")),
        curve=curve("{run}"),
        judgements=f"{RESULTS}/curves/{{run}}.judgements.jsonl",
        judge_calls=f"{RESULTS}/curves/{{run}}.judge_calls.json",
    log:
        f"{LOGS}/train_{{run}}.log",
    benchmark:
        f"{BENCHMARKS}/train_{{run}}.tsv"
    wildcard_constraints:
        run="|".join(GRPO_RUNS),
    priority: 3
    conda:
        f"../envs/{RL}.yaml"
    container:
        image(RL)
    threads: threads("train_mt_grpo")
    resources:
        **resources("train_mt_grpo"),
    params:
        python=rl_python(),
        fork=option("--fork", config["fork"]["checkout"]) if FORK else "",
        keep=lambda wildcards: option(
            "--keep",
            (
                " ".join(map(str, CHECKPOINTS.values()))
                if wildcards.run == "mt_grpo"
                else ""
            ),
        ),
    message:
        "Training {output.model} with verl, scored group by group (progress: {log})"
    shell:
        "python scripts/train_rl.py --config {input.config} --data {input.data} --python {params.python} "
        "{params.fork} {params.keep} --model {output.model} --curve {output.curve} "
        "--judgements {output.judgements} --judge-calls {output.judge_calls} > {log} 2>&1"
