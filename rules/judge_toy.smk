# Judges of the toy world: their rows, and the model that they start from.


rule make_judge_world:
    input:
        pointwise=JUDGES["prompts"]["pointwise"],
        pairwise=JUDGES["prompts"]["pairwise"],
    output:
        [judge_data(name.removeprefix("judge_")) for name in JUDGES["data"]["toy"]],
    log:
        f"{LOGS}/make_judge_world.log",
    benchmark:
        f"{BENCHMARKS}/make_judge_world.tsv"
    conda:
        "../envs/driver.yaml"
    resources:
        **resources("make_judge_world"),
    params:
        folder=lambda wildcards, output: str(Path(output[0]).parent),
        rows=settings("judges", "data", "toy"),
        seed=config["seed"],
    message:
        "Making toy data for judges"
    shell:
        "python scripts/make_judge_world.py --pointwise-prompt {input.pointwise:q} "
        "--pairwise-prompt {input.pairwise:q} --rows {params.rows:q} --seed {params.seed:q} "
        "--output-folder {params.folder:q} > {log:q} 2>&1"


rule make_judge_base:
    input:
        sft=judge_data("sft"),
        preferences=judge_data("bradley_terry_train"),
        environment=environment("train"),
    output:
        model=directory(model("judge_base")),
    log:
        f"{LOGS}/make_judge_base.log",
    benchmark:
        f"{BENCHMARKS}/make_judge_base.tsv"
    conda:
        "../envs/train.yaml"
    resources:
        **resources("make_judge_base"),
    params:
        python=python_of("train"),
        size=model_size(JUDGES["base_model"]),
        seed=config["seed"],
    message:
        "Making the tokenizer and the tiny base model of the judges"
    shell:
        "{params.python:q} scripts/make_judge_base.py --sft {input.sft:q} --preferences {input.preferences:q} "
        "--size {params.size:q} --seed {params.seed:q} --output {output.model:q} > {log:q} 2>&1"
