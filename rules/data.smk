# The tables of every stage in the paper's schemas, and the tiny base models of the demonstration.


if config["data"]["source"] == "toy":

    rule make_toy_world:
        output:
            **TABLES,
        log:
            f"{LOGS}/make_toy_world.log",
        benchmark:
            f"{BENCHMARKS}/make_toy_world.tsv"
        conda:
            "../envs/driver.yaml"
        params:
            folder=lambda wildcards, output: str(Path(output[0]).parent),
            rows=" ".join(
                f"--{name.replace('_', '-')} {rows}"
                for name, rows in config["data"]["toy"].items()
            ),
            seed=config["seed"],
        message:
            "Making the toy world: six tables of a synthetic language pair"
        shell:
            "python scripts/make_toy_world.py --output-folder {params.folder} {params.rows} --seed {params.seed} "
            "> {log} 2>&1"

else:

    rule make_sample_data:
        input:
            rankings="config/sample/rankings.yaml",
            translations="config/sample/translations.yaml",
        output:
            **TABLES,
        log:
            f"{LOGS}/make_sample_data.log",
        benchmark:
            f"{BENCHMARKS}/make_sample_data.tsv"
        conda:
            "../envs/driver.yaml"
        params:
            folder=lambda wildcards, output: str(Path(output[0]).parent),
            seed=config["seed"],
        message:
            "Splitting the sample of real languages into six tables"
        shell:
            "python scripts/make_sample_data.py --rankings {input.rankings} "
            "--translations {input.translations} --output-folder {params.folder} --seed {params.seed} > {log} 2>&1"


rule check_leakage:
    input:
        **TABLES,
    output:
        found=f"{RESULTS}/data/leakage.json",
        table=f"{RESULTS}/data/leakage.tsv",
    log:
        f"{LOGS}/check_leakage.log",
    benchmark:
        f"{BENCHMARKS}/check_leakage.tsv"
    conda:
        "../envs/driver.yaml"
    params:
        train=named({name: TABLES[name] for name in STAGES}),
        test=named({name: TABLES[name] for name in TEST_TABLES}),
        max_share=config["data"]["max_leakage"],
    message:
        "Comparing what is trained on with what is tested on"
    shell:
        "python scripts/check_leakage.py --train {params.train} --test {params.test} "
        "--max-share {params.max_share} --output {output.found} --table {output.table} > {log} 2>&1"


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
    params:
        python=python_of("train"),
        folder=lambda wildcards, input: str(Path(input[0]).parent),
        grrm=base_model_size("grrm"),
        mt=base_model_size("mt"),
        max_positions=config["base_models"]["max_positions"],
        seed=config["seed"],
    message:
        "Making the tokenizer and the two tiny base models"
    shell:
        "{params.python} scripts/make_base_models.py --data-folder {params.folder} "
        "--ranking-prompt {input.ranking_prompt} --translation-prompt {input.translation_prompt} "
        "--grrm-size {params.grrm} --mt-size {params.mt} --max-position-embeddings {params.max_positions} "
        "--seed {params.seed} --grrm-output {output.grrm} --mt-output {output.mt} > {log} 2>&1"
