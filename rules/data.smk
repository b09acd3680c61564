# The tables of every stage in the paper's schemas, and the tiny base models of the demonstration.


if config["data"]["source"] == "toy":

    rule make_toy_world:
        output:
            **TABLES,
        log:
            f"{LOGS}/make_toy_world.log",
        benchmark:
            f"{BENCHMARKS}/make_toy_world.tsv"
        params:
            folder=f"{RESULTS}/data",
            rows=" ".join(f"--{name.replace('_', '-')} {rows}" for name, rows in config["data"]["toy"].items()),
            seed=config["seed"],
        message:
            "Making the toy world: six tables of a synthetic language pair"
        shell:
            "{DRIVER} scripts/make_toy_world.py --output {params.folder} {params.rows} --seed {params.seed} "
            "> {log} 2>&1"

else:

    rule make_sample_data:
        input:
            groups="config/sample/ranking.jsonl",
            pairs="config/sample/translation.jsonl",
        output:
            **TABLES,
        log:
            f"{LOGS}/make_sample_data.log",
        benchmark:
            f"{BENCHMARKS}/make_sample_data.tsv"
        params:
            folder=f"{RESULTS}/data",
            seed=config["seed"],
        message:
            "Splitting the sample of real languages into six tables"
        shell:
            "{DRIVER} scripts/make_sample_data.py --output {params.folder} --seed {params.seed} > {log} 2>&1"


rule make_base_models:
    input:
        **TABLES,
        ranking_prompt=config["prompts"]["ranking"],
        translation_prompt=config["prompts"]["translation"],
        environment=environment("train"),
    output:
        grrm=directory(model("grrm_base")),
        mt=directory(model("mt_base")),
    log:
        f"{LOGS}/make_base_models.log",
    benchmark:
        f"{BENCHMARKS}/make_base_models.tsv"
    conda:
        "../envs/train.yaml"
    message:
        "Making the tokenizer and the two tiny base models"
    shell:
        "{TRAIN_PYTHON} scripts/make_base_models.py > {log} 2>&1"
