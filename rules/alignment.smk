# GRPO of any policy against an LLM judge, on rows {x, chosen, rejected, source, unique_id} (docs/rewards.md).

ALIGNMENT = config["alignment"]
ALIGNMENT_REWARD = ALIGNMENT["grpo"]["reward"]
ALIGNMENT_PROMPT = alignment_prompt_of(ALIGNMENT_REWARD)
# The judge that verl serves, or the checkpoint that scores; without one an endpoint is asked.
ALIGNMENT_JUDGE = model("alignment_judge") if has_alignment_judge(ALIGNMENT) else None
# Of a mixture: prompts of its parts, and the checkpoint that one of them scores with.
_parts = pieces_of(ALIGNMENT_REWARD) if "parts" in ALIGNMENT_REWARD else {}
_prompts = {name: alignment_prompt_of(part) for name, part in _parts.items()}
_prompts = {name: file for name, file in _prompts.items() if file is not None}
_checkpoints = {name: ALIGNMENT_JUDGE for name in part_checkpoints_of(ALIGNMENT_REWARD)}
ALIGNMENT_SERVED = None if _checkpoints else ALIGNMENT_JUDGE
ALIGNMENT_PARTS = [
    *option("--part-prompt", named(_prompts)),
    *option("--part-model", named(_checkpoints)),
]
ALIGNMENT_FILES = [
    *(prompt_file(file) for file in [ALIGNMENT_PROMPT, *_prompts.values()] if file),
    *function_files_of(ALIGNMENT_REWARD),
]
TOY_ALIGNMENT = {
    part: f"{RESULTS}/data/alignment_{part}.parquet" for part in ("train", "validation")
}
# Rows as they are given.
ALIGNMENT_DATA = {
    part: ALIGNMENT["data"][part] or toy for part, toy in TOY_ALIGNMENT.items()
}
# Rows as verl reads them.
ALIGNMENT_ROWS = {
    "train": prepared("alignment_grpo"),
    "validation": validation_rows("alignment_grpo"),
}


rule make_toy_alignment:
    input:
        prompt="config/prompts/toy_judge_pairwise.yaml",
        environment=environment("train"),
    output:
        **TOY_ALIGNMENT,
        policy=f"{RESULTS}/prepared/alignment_policy.jsonl",
        judge=f"{RESULTS}/prepared/alignment_judge.jsonl",
        model=directory(model("alignment_base")),
    log:
        f"{LOGS}/make_toy_alignment.log",
    benchmark:
        f"{BENCHMARKS}/make_toy_alignment.tsv"
    conda:
        "../envs/train.yaml"
    container:
        image("train")
    resources:
        **resources("make_toy_alignment"),
    params:
        python=python_of("train"),
        rows=flags(
            {f"--{name}-rows": rows for name, rows in ALIGNMENT["data"]["toy"].items()}
        ),
        size=model_size(ALIGNMENT["base_model"]),
        seed=config["seed"],
    message:
        "Making the toy data and the base model of the alignment"
    shell:
        "{params.python:q} scripts/make_toy_alignment.py --judge-prompt {input.prompt:q} --train {output.train:q} "
        "--validation {output.validation:q} --policy {output.policy:q} --judge {output.judge:q} "
        "--model {output.model:q} {params.rows:q} --size {params.size:q} --seed {params.seed:q} > {log:q} 2>&1"


rule render_alignment_sft:
    output:
        **rendered_sft("alignment_{part}"),
    log:
        f"{LOGS}/render_alignment_{{part}}.log",
    wildcard_constraints:
        part="policy|judge",
    conda:
        "../envs/driver.yaml"
    resources:
        **resources("render_alignment_sft"),
    params:
        settings=lambda wildcards: stage_settings(f"alignment_{wildcards.part}"),
        hardware=settings("hardware"),
        model=model("alignment_base"),
        data=f"{RESULTS}/prepared/alignment_{{part}}.jsonl",
        checkpoints=checkpoints("alignment_{part}"),
        seed=config["seed"],
    message:
        "Rendering {output.config}"
    shell:
        "python scripts/render_sft.py --settings {params.settings:q} --hardware {params.hardware:q} "
        "--model {params.model:q} --data {params.data:q} --checkpoints {params.checkpoints:q} "
        "--seed {params.seed:q} --output {output.config:q} --dataset-info {output.dataset_info:q} > {log:q} 2>&1"


rule train_alignment_sft:
    input:
        **rendered_sft("alignment_{part}"),
        data=f"{RESULTS}/prepared/alignment_{{part}}.jsonl",
        model=model("alignment_base"),
        environment=environment(SFT),
    output:
        **trained("alignment_{part}"),
    log:
        f"{LOGS}/train_alignment_{{part}}.log",
    benchmark:
        f"{BENCHMARKS}/train_alignment_{{part}}.tsv"
    wildcard_constraints:
        part="policy|judge",
    conda:
        f"../envs/{SFT}.yaml"
    container:
        image(SFT)
    threads: threads("train_alignment_sft")
    resources:
        **resources("train_alignment_sft"),
    params:
        # Options behind it: with a place of their own, the rule's command would be another one.
        python=followed_by(python_of(SFT), too_long(ALIGNMENT["data"])),
    message:
        "Finetuning {output.model} with LLaMA-Factory (progress: {log})"
    shell:
        "python scripts/train_sft.py --config {input.config:q} --data {input.data:q} --python {params.python:q} "
        "--model {output.model:q} --curve {output.curve:q} > {log:q} 2>&1"


rule prepare_alignment:
    input:
        **ALIGNMENT_DATA,
    output:
        **ALIGNMENT_ROWS,
    log:
        f"{LOGS}/prepare_alignment.log",
    benchmark:
        f"{BENCHMARKS}/prepare_alignment.tsv"
    conda:
        "../envs/driver.yaml"
    resources:
        **resources("prepare_alignment"),
    params:
        bad_rows=ALIGNMENT["data"]["bad_rows"],
        seed=config["seed"],
    message:
        "Preparing the rows of the alignment"
    shell:
        "python scripts/prepare_alignment.py --train {input.train:q} --validation {input.validation:q} "
        "--train-output {output.train:q} --validation-output {output.validation:q} "
        "--bad-rows {params.bad_rows:q} --seed {params.seed:q} > {log:q} 2>&1"


rule render_alignment_grpo:
    output:
        **rendered("alignment_grpo"),
    log:
        f"{LOGS}/render_alignment_grpo.log",
    conda:
        "../envs/driver.yaml"
    resources:
        **resources("render_alignment_grpo"),
    params:
        **stage_params("alignment_grpo"),
        **CLIPPED,
        hardware=settings("hardware"),
        validation=(
            option("--validation-data", ALIGNMENT_ROWS["validation"])
            if ALIGNMENT["grpo"]["validation"]
            else []
        ),
        judge=option("--reward-model", ALIGNMENT_SERVED) + ALIGNMENT_PARTS,
        judge_prompt=option("--judge-prompt", ALIGNMENT_PROMPT),
        seed=config["seed"],
    message:
        "Rendering {output.config}"
    shell:
        "python scripts/render_rl.py --stage alignment_grpo --task conversation "
        "--settings {params.settings:q} --hardware {params.hardware:q} --model {params.model:q} "
        "--data {params.data:q} {params.validation:q} {params.judge:q} {params.judge_prompt:q} "
        "--checkpoints {params.checkpoints:q} --seed {params.seed:q} --output {output.config:q} > {log:q} 2>&1"


rule train_alignment_grpo:
    input:
        **rendered("alignment_grpo"),
        data=ALIGNMENT_ROWS["train"],
        validation=ALIGNMENT_ROWS["validation"],
        model=start_of("alignment_grpo"),
        judge=ALIGNMENT_JUDGE or [],
        judge_prompt=ALIGNMENT_FILES,
        environment=environment(RL),
    output:
        **judged("alignment_grpo"),
    log:
        f"{LOGS}/train_alignment_grpo.log",
    benchmark:
        f"{BENCHMARKS}/train_alignment_grpo.tsv"
    conda:
        f"../envs/{RL}.yaml"
    container:
        training_image(RL, "train_alignment_grpo")
    threads: threads("train_alignment_grpo")
    resources:
        **resources("train_alignment_grpo"),
    params:
        python=training_python(RL, "train_alignment_grpo"),
    message:
        "Training {output.model} with verl against a judge (progress: {log})"
    shell:
        "python scripts/train_rl.py --config {input.config:q} --data {input.data:q} --python {params.python:q} "
        "--ray-from-environment --model {output.model:q} --curve {output.curve:q} "
        "--judgements {output.judgements:q} --judge-calls {output.judge_calls:q} > {log:q} 2>&1"


rule summarize_alignment:
    input:
        curve=rules.train_alignment_grpo.output.curve,
        judge_calls=rules.train_alignment_grpo.output.judge_calls,
        validation=ALIGNMENT_ROWS["validation"],
    output:
        summary=ALIGNMENT_SUMMARY,
    log:
        f"{LOGS}/summarize_alignment.log",
    conda:
        "../envs/driver.yaml"
    resources:
        **resources("summarize_alignment"),
    params:
        kind=ALIGNMENT_REWARD["kind"],
        seed=config["seed"],
    message:
        "Summing up the alignment: {output.summary}"
    shell:
        "python scripts/summarize_alignment.py --curve {input.curve:q} --judge-calls {input.judge_calls:q} "
        "--validation {input.validation:q} --kind {params.kind:q} --seed {params.seed:q} "
        "--output {output.summary:q} > {log:q} 2>&1"
