# Judges: SFT (LLaMA-Factory), GRPO with verified scores and preferences (verl), Bradley-Terry (TRL).


wildcard_constraints:
    kind="|".join(JUDGE_KINDS),


rule prepare_judge_sft:
    input:
        rows=lambda wildcards: judge_sources("sft")[0],
    output:
        rows=prepared("judge_sft"),
    log:
        f"{LOGS}/prepare_judge_sft.log",
    conda:
        "../envs/driver.yaml"
    resources:
        **resources("prepare_judge_sft"),
    params:
        rows=lambda wildcards: judge_sources("sft")[1],
        bad_rows=JUDGES["data"]["bad_rows"],
    message:
        "Preparing the conversations of the judges' SFT"
    shell:
        "python scripts/prepare_judge_sft.py --input {params.rows:q} --bad-rows {params.bad_rows:q} "
        "--output {output.rows:q} > {log:q} 2>&1"


use rule render_sft as render_judge_sft with:
    input:
        deepspeed=deepspeed("judge_sft"),
    output:
        **rendered_sft("judge_sft"),
    log:
        f"{LOGS}/render_judge_sft.log",
    resources:
        **resources("render_judge_sft"),
    params:
        **stage_params("judge_sft"),


rule write_judge_card:
    input:
        [JUDGES["prompts"]["pointwise"], JUDGES["prompts"]["pairwise"]],
    output:
        card=f"{RESULTS}/configs/{{judge}}/judge.json",
    log:
        f"{LOGS}/write_judge_card_{{judge}}.log",
    wildcard_constraints:
        judge="|".join(training.name for training in of_part("judges")),
    conda:
        "../envs/driver.yaml"
    resources:
        **resources("write_judge_card"),
    params:
        options=lambda wildcards: judge_card_options(wildcards.judge),
    message:
        "Writing down what {wildcards.judge} is trained to answer"
    shell:
        "python scripts/write_judge_card.py --stage {wildcards.judge:q} {params.options:q} "
        "--output {output.card:q} > {log:q} 2>&1"


rule train_judge_sft:
    input:
        **sft_input("judge_sft"),
        card=f"{RESULTS}/configs/judge_sft/judge.json",
    output:
        **trained("judge_sft"),
    log:
        f"{LOGS}/train_judge_sft.log",
    benchmark:
        f"{BENCHMARKS}/train_judge_sft.tsv"
    priority: 1
    conda:
        f"../envs/{SFT}.yaml"
    container:
        training_image(SFT, "train_judge_sft")
    threads: threads("train_judge_sft")
    resources:
        **resources("train_judge_sft"),
    params:
        python=training_python(SFT, "train_judge_sft"),
        hardware=[*devices(), *too_long(JUDGES["data"])],
    message:
        "Finetuning {output.model} with LLaMA-Factory (progress: {log})"
    shell:
        "python scripts/train_sft.py --config {input.config:q} --data {input.data:q} --python {params.python:q} "
        "{params.hardware:q} --card {input.card:q} --model {output.model:q} --curve {output.curve:q} > {log:q} 2>&1"


rule prepare_judge_rl:
    input:
        rows=judge_data("{kind}_{split}"),
        prompt=lambda wildcards: JUDGES["prompts"][wildcards.kind],
    output:
        rows=f"{RESULTS}/prepared/judge_{{kind}}_{{split}}.parquet",
    log:
        f"{LOGS}/prepare_judge_{{kind}}_{{split}}.log",
    wildcard_constraints:
        kind="|".join(VERIFIED_KINDS),
        split="train|test",
    conda:
        "../envs/driver.yaml"
    resources:
        **resources("prepare_judge_rl"),
    params:
        orders=lambda wildcards: (
            ["--both-orders"]
            if wildcards.kind == "pairwise" and JUDGES["pairwise"]["both_orders"]
            else []
        ),
        seed=config["seed"],
    message:
        "Preparing the {wildcards.split} rows of the {wildcards.kind} judge"
    shell:
        "python scripts/prepare_judge_rl.py --kind {wildcards.kind:q} --input {input.rows:q} "
        "--prompt {input.prompt:q} {params.orders:q} --split {wildcards.split:q} --seed {params.seed:q} "
        "--output {output.rows:q} > {log:q} 2>&1"


rule render_judge_rl:
    input:
        prompt=lambda wildcards: JUDGES["prompts"][wildcards.kind],
    output:
        **rendered("judge_{kind}"),
    log:
        f"{LOGS}/render_judge_{{kind}}.log",
    wildcard_constraints:
        kind="|".join(VERIFIED_KINDS),
    conda:
        "../envs/driver.yaml"
    resources:
        **resources("render_judge_rl"),
    params:
        **CLIPPED,
        settings=lambda wildcards: stage_settings(f"judge_{wildcards.kind}"),
        hardware=settings("hardware"),
        model=lambda wildcards: start_of(f"judge_{wildcards.kind}"),
        data=lambda wildcards: prepared(f"judge_{wildcards.kind}"),
        validation=lambda wildcards: option(
            "--validation-data", judge_validation(wildcards.kind)
        ),
        checkpoints=lambda wildcards: checkpoints(f"judge_{wildcards.kind}"),
        seed=config["seed"],
    message:
        "Rendering {output.config}"
    shell:
        "python scripts/render_judge_rl.py --kind {wildcards.kind:q} --settings {params.settings:q} "
        "--hardware {params.hardware:q} --prompt {input.prompt:q} --model {params.model:q} --data {params.data:q} "
        "{params.validation:q} --checkpoints {params.checkpoints:q} --seed {params.seed:q} "
        "--output {output.config:q} > {log:q} 2>&1"


rule train_judge_rl:
    input:
        **rendered("judge_{kind}"),
        data=lambda wildcards: prepared(f"judge_{wildcards.kind}"),
        validation=lambda wildcards: judge_validation(wildcards.kind),
        card=f"{RESULTS}/configs/judge_{{kind}}/judge.json",
        model=lambda wildcards: start_of(f"judge_{wildcards.kind}"),
        environment=rl_environment(),
    output:
        **trained("judge_{kind}"),
    log:
        f"{LOGS}/train_judge_{{kind}}.log",
    benchmark:
        f"{BENCHMARKS}/train_judge_{{kind}}.tsv"
    wildcard_constraints:
        kind="|".join(VERIFIED_KINDS),
    conda:
        f"../envs/{RL}.yaml"
    container:
        training_image(RL, "train_judge_rl")
    threads: threads("train_judge_rl")
    resources:
        **resources("train_judge_rl"),
    params:
        python=training_python(RL, "train_judge_rl"),
    message:
        "Training {output.model} with verl against what is annotated (progress: {log})"
    shell:
        "python scripts/train_rl.py --config {input.config:q} --data {input.data:q} --python {params.python:q} "
        "--ray-from-environment --card {input.card:q} --model {output.model:q} --curve {output.curve:q} > {log:q} 2>&1"


rule render_bradley_terry:
    input:
        deepspeed=deepspeed("judge_bradley_terry"),
    output:
        **rendered("judge_bradley_terry"),
    log:
        f"{LOGS}/render_judge_bradley_terry.log",
    conda:
        "../envs/driver.yaml"
    resources:
        **resources("render_bradley_terry"),
    params:
        **stage_params("judge_bradley_terry"),
        hardware=settings("hardware"),
        deepspeed=lambda wildcards, input: option("--deepspeed", input.deepspeed),
        seed=config["seed"],
    message:
        "Rendering {output.config}"
    shell:
        "python scripts/render_bradley_terry.py --settings {params.settings:q} "
        "--hardware {params.hardware:q} {params.deepspeed:q} --model {params.model:q} --data {params.data:q} "
        "--checkpoints {params.checkpoints:q} --seed {params.seed:q} --output {output.config:q} > {log:q} 2>&1"


rule train_bradley_terry:
    input:
        **rendered("judge_bradley_terry"),
        data=prepared("judge_bradley_terry"),
        card=f"{RESULTS}/configs/judge_bradley_terry/judge.json",
        model=start_of("judge_bradley_terry"),
        environment=environment(SFT),
    output:
        **trained("judge_bradley_terry"),
    log:
        f"{LOGS}/train_judge_bradley_terry.log",
    benchmark:
        f"{BENCHMARKS}/train_judge_bradley_terry.tsv"
    conda:
        f"../envs/{SFT}.yaml"
    container:
        image(SFT)
    threads: threads("train_bradley_terry")
    resources:
        **resources("train_bradley_terry"),
    params:
        python=python_of(SFT),
    message:
        "Training {output.model} with TRL (progress: {log})"
    shell:
        "python scripts/train_bradley_terry.py --config {input.config:q} --data {input.data:q} "
        "--python {params.python:q} --card {input.card:q} --model {output.model:q} --curve {output.curve:q} "
        "> {log:q} 2>&1"
