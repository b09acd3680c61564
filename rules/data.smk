# The tables of every stage in the paper's schemas, what they share with test sets, and the tiny base models.

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
        resources:
            **resources("make_toy_world"),
        params:
            folder=lambda wildcards, output: str(Path(output[0]).parent),
            rows=flags(
                {
                    f"--{name.replace('_', '-')}": rows
                    for name, rows in config["data"]["toy"].items()
                }
            ),
            seed=config["seed"],
        message:
            "Making the toy world: six tables of a synthetic language pair"
        shell:
            "python scripts/make_toy_world.py --output-folder {params.folder:q} {params.rows:q} --seed {params.seed:q} "
            "> {log:q} 2>&1"

elif config["data"]["source"] == "sample":

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
        resources:
            **resources("make_sample_data"),
        params:
            folder=lambda wildcards, output: str(Path(output[0]).parent),
            seed=config["seed"],
        message:
            "Splitting the sample of real languages into six tables"
        shell:
            "python scripts/make_sample_data.py --rankings {input.rankings:q} "
            "--translations {input.translations:q} --output-folder {params.folder:q} --seed {params.seed:q} > {log:q} 2>&1"

elif config["data"]["source"] == "hub":

    rule check_table:
        input:
            record=lambda wildcards: download_record(TRAINING_FILES[wildcards.stage][0]),
        output:
            table=f"{RESULTS}/data/{{stage}}.parquet",
        log:
            f"{LOGS}/check_table_{{stage}}.log",
        wildcard_constraints:
            stage="|".join(STAGES),
        conda:
            "../envs/driver.yaml"
        resources:
            **resources("check_table"),
        params:
            files=lambda wildcards: downloaded(*TRAINING_FILES[wildcards.stage]),
            bad_rows=lambda wildcards: [
                config["data"]["bad_rows"],
                *further(wildcards.stage),
            ],
        message:
            "Checking the published rows of {wildcards.stage}"
        shell:
            "python scripts/check_table.py --input {params.files:q} --schema {wildcards.stage:q} "
            "--bad-rows {params.bad_rows:q} --output {output.table:q} > {log:q} 2>&1"

else:

    include: "files.smk"


if config["data"]["source"] in ("hub", "files"):

    rule convert_test_set:
        input:
            record=lambda wildcards: download_record(
                TEST_SETS[wildcards.test_set].entry
            ),
        output:
            table=f"{RESULTS}/data/test_sets/{{test_set}}.parquet",
        log:
            f"{LOGS}/convert_test_set_{{test_set}}.log",
        wildcard_constraints:
            test_set="|".join(TEST_SETS),
        conda:
            "../envs/driver.yaml"
        resources:
            **resources("convert_test_set"),
        params:
            format=lambda wildcards: TEST_SETS[wildcards.test_set].format,
            files=lambda wildcards: downloaded(
                TEST_SETS[wildcards.test_set].entry,
                TEST_SETS[wildcards.test_set].files,
            ),
            pair=lambda wildcards: option("--pair", TEST_SETS[wildcards.test_set].pair),
            bad_rows=config["data"]["bad_rows"],
        message:
            "Converting the test set {wildcards.test_set}"
        shell:
            "python scripts/convert_test_set.py --format {params.format:q} --input {params.files:q} {params.pair:q} "
            "--bad-rows {params.bad_rows:q} --output {output.table:q} > {log:q} 2>&1"

    rule collect_test_sets:
        input:
            unpack(tests_of),
        output:
            table=f"{RESULTS}/data/{{kind}}_test.parquet",
        log:
            f"{LOGS}/collect_test_sets_{{kind}}.log",
        wildcard_constraints:
            kind="|".join(sorted({*KINDS.values()})) or "none",
        conda:
            "../envs/driver.yaml"
        resources:
            **resources("collect_test_sets"),
        params:
            tables=lambda wildcards: named(tests_of(wildcards))
            + further(f"{wildcards.kind}_test"),
        message:
            "Putting the {wildcards.kind} test sets together"
        shell:
            "python scripts/collect_test_sets.py --input {params.tables:q} --schema {wildcards.kind:q}_test "
            "--output {output.table:q} > {log:q} 2>&1"

    if OWN_TESTS:

        rule read_test_set:
            input:
                files=lambda wildcards: OWN_TESTS[wildcards.own_test_set][1].every,
            output:
                table=f"{RESULTS}/data/test_sets/{{own_test_set}}.parquet",
            log:
                f"{LOGS}/read_test_set_{{own_test_set}}.log",
            wildcard_constraints:
                own_test_set="|".join(map(re.escape, OWN_TESTS)),
            conda:
                "../envs/driver.yaml"
            resources:
                **resources("read_test_set"),
            params:
                given=lambda wildcards: OWN_TESTS[wildcards.own_test_set][1].options,
                rows=lambda wildcards: reading(
                    f"{OWN_TESTS[wildcards.own_test_set][0]}_test"
                ),
            message:
                "Reading the test set {wildcards.own_test_set}"
            shell:
                "python scripts/read_files.py {params.rows:q} {params.given:q} --output {output.table:q} > {log:q} 2>&1"


# A gate: rows are prepared only if test sets are not in the training data, but for what data.max_leakage allows.
# What is prepared stays when the same is found again, so it is an `ancient` input there.
rule check_leakage:
    input:
        **TRAINING,
        **TESTS,
    output:
        found=f"{RESULTS}/data/leakage.json",
        table=f"{RESULTS}/data/leakage.tsv",
    log:
        f"{LOGS}/check_leakage.log",
    benchmark:
        f"{BENCHMARKS}/check_leakage.tsv"
    conda:
        "../envs/driver.yaml"
    resources:
        **resources("check_leakage"),
    params:
        train=named(TRAINING),
        test=named(TESTS),
        limits=named(LEAKAGE_LIMITS),
    message:
        "Comparing what is trained on with what is tested on"
    shell:
        "python scripts/check_leakage.py --train {params.train:q} --test {params.test:q} "
        "--max-share {params.limits:q} --output {output.found:q} --table {output.table:q} > {log:q} 2>&1"


LEAKAGE = ancient(rules.check_leakage.output.found)


rule make_base_models:
    input:
        **TABLES,
        ranking_prompt=prompt("ranking"),
        translation_prompt=prompt("translation"),
        environment=environment("train"),
    output:
        grrm=directory(model("grrm_base")),
        mt=directory(model("mt_base")),
    log:
        f"{LOGS}/make_base_models.log",
    benchmark:
        f"{BENCHMARKS}/make_base_models.tsv"
    priority: 3
    conda:
        "../envs/train.yaml"
    container:
        image("train")
    resources:
        **resources("make_base_models"),
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
        "{params.python:q} scripts/make_base_models.py --data-folder {params.folder:q} "
        "--ranking-prompt {input.ranking_prompt:q} --translation-prompt {input.translation_prompt:q} "
        "--grrm-size {params.grrm:q} --mt-size {params.mt:q} --max-position-embeddings {params.max_positions:q} "
        "--seed {params.seed:q} --grrm-output {output.grrm:q} --mt-output {output.mt:q} > {log:q} 2>&1"
