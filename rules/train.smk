# Trainings: how a configuration is rendered and an engine trains. Stages are made from these rules by
# `use rule ... as ... with:`; by themselves they make nothing, as no {run} fits. What they look up is in the row
# of a training (scripts/grrm/catalogue/trainings.py).

NO_RUN = "(?!)"

# Small, and many would wait in a queue.
workflow.localrules(*(f"render_{training.rule_name}" for training in PLANNED))


rule render_sft:
    input:
        deepspeed=lambda wildcards: deepspeed(wildcards.run),
    output:
        **rendered_sft("{run}"),
    log:
        f"{LOGS}/render_{{run}}.log",
    wildcard_constraints:
        run=NO_RUN,
    conda:
        "../envs/driver.yaml"
    resources:
        **resources("render_sft"),
    params:
        settings=lambda wildcards: stage_settings(wildcards.run),
        hardware=settings("hardware"),
        deepspeed=lambda wildcards, input: option("--deepspeed", input.deepspeed),
        model=lambda wildcards: start_of(wildcards.run),
        data=lambda wildcards: prepared(wildcards.run),
        checkpoints=lambda wildcards: checkpoints(wildcards.run),
        seed=config["seed"],
    message:
        "Rendering {output.config}"
    shell:
        "python scripts/render_sft.py --settings {params.settings:q} --hardware {params.hardware:q} "
        "{params.deepspeed:q} --model {params.model:q} --data {params.data:q} "
        "--checkpoints {params.checkpoints:q} --seed {params.seed:q} "
        "--output {output.config:q} --dataset-info {output.dataset_info:q} > {log:q} 2>&1"


rule train_sft:
    input:
        unpack(lambda wildcards: sft_input(wildcards.run)),
    output:
        **trained("{run}"),
    log:
        f"{LOGS}/train_{{run}}.log",
    benchmark:
        f"{BENCHMARKS}/train_{{run}}.tsv"
    wildcard_constraints:
        run=NO_RUN,
    conda:
        f"../envs/{SFT}.yaml"
    container:
        training_image(SFT, "train_mt_sft")
    threads: threads("train_mt_sft")
    resources:
        **resources("train_mt_sft"),
    params:
        python=training_python(SFT, "train_mt_sft"),
        hardware=[*devices(), *too_long(config["data"])],
    message:
        "Finetuning {output.model} with LLaMA-Factory (progress: {log})"
    shell:
        "python scripts/train_sft.py --config {input.config:q} --data {input.data:q} --python {params.python:q} "
        "{params.hardware:q} --model {output.model:q} --curve {output.curve:q} > {log:q} 2>&1"


# Against a reward for each group of rollouts.
rule render_rl:
    output:
        **rendered("{run}"),
    log:
        f"{LOGS}/render_{{run}}.log",
    wildcard_constraints:
        run=NO_RUN,
    conda:
        "../envs/driver.yaml"
    resources:
        **resources("render_rl"),
    params:
        **CLIPPED,
        settings=lambda wildcards: json.dumps(
            {**config["mt_grpo"], "reward": run_reward(wildcards.run)}
        ),
        hardware=settings("hardware"),
        engine=config["rl_engine"],
        model=lambda wildcards: start_of(wildcards.run),
        data=lambda wildcards: prepared(wildcards.run),
        judge=lambda wildcards: (
            option("--reward-model", scoring_model(wildcards))
            + part_options(wildcards)
            + option("--form", FORM)
        ),
        judge_prompt=lambda wildcards: option("--judge-prompt", judge_prompt(wildcards)),
        scorer=lambda wildcards: option("--scorer-python", scoring_python(wildcards)),
        checkpoints=lambda wildcards: checkpoints(wildcards.run),
        seed=config["seed"],
    message:
        "Rendering {output.config}"
    shell:
        "python scripts/render_rl.py --stage {wildcards.run:q} --settings {params.settings:q} "
        "--hardware {params.hardware:q} --engine {params.engine:q} --model {params.model:q} "
        "--data {params.data:q} {params.judge:q} {params.judge_prompt:q} {params.scorer:q} "
        "--checkpoints {params.checkpoints:q} --seed {params.seed:q} --output {output.config:q} > {log:q} 2>&1"


rule train_rl:
    input:
        **rendered("{run}"),
        data=lambda wildcards: prepared(wildcards.run),
        model=lambda wildcards: start_of(wildcards.run),
        judge=scoring_models,
        judge_prompt=scoring_files,
        environment=rl_environment(),
        scorer_environment=scoring_environments,
    output:
        **judged("{run}"),
    log:
        f"{LOGS}/train_{{run}}.log",
    benchmark:
        f"{BENCHMARKS}/train_{{run}}.tsv"
    wildcard_constraints:
        run=NO_RUN,
    priority: 3
    conda:
        f"../envs/{RL}.yaml"
    container:
        training_image(RL, "train_mt_grpo")
    threads: threads("train_mt_grpo")
    resources:
        **resources("train_mt_grpo"),
    params:
        python=rl_python("train_mt_grpo"),
        fork=option("--fork", config["fork"]["checkout"]) if FORK else [],
        keep=[],
    message:
        "Training {output.model} with verl, scored group by group (progress: {log})"
    shell:
        "python scripts/train_rl.py --config {input.config:q} --data {input.data:q} --python {params.python:q} "
        "{params.fork:q} {params.keep:q} --model {output.model:q} --curve {output.curve:q} "
        "--judgements {output.judgements:q} --judge-calls {output.judge_calls:q} > {log:q} 2>&1"
