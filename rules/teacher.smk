# Ranking data made by a teacher: candidates for every source, then what the teacher says about them.


rule propose_candidates:
    input:
        *(weights(section, key) for key, section in MODELS_OF_CANDIDATES.items()),
        *(section["prompt"] for section in CANDIDATES["models"]),
        *(
            path
            for section in CANDIDATES["files"]
            for path in (section["file"], section["source_file"])
            if path
        ),
        pairs=TEACHER_PAIRS,
        environment=environment(RL) if CANDIDATES_HERE else [],
    output:
        table=f"{ANNOTATION}/candidates.parquet",
        counts=f"{ANNOTATION}/candidates.json",
    log:
        f"{LOGS}/propose_candidates.log",
    benchmark:
        f"{BENCHMARKS}/propose_candidates.tsv"
    conda:
        f"../envs/{PROPOSING}.yaml"
    threads: threads("propose_candidates")
    resources:
        **resources("propose_candidates"),
    params:
        python=python_of(RL) if CANDIDATES_HERE else DRIVER,
        settings=json.dumps(
            {
                **CANDIDATES,
                "models": [
                    asked(section, key)
                    for key, section in MODELS_OF_CANDIDATES.items()
                ],
            }
        ),
        journal=JOURNAL,
        seed=config["seed"],
    message:
        "Proposing candidates (progress: {log})"
    shell:
        "{params.python:q} scripts/propose_candidates.py --pairs {input.pairs:q} --settings {params.settings:q} "
        "--journal {params.journal:q} --seed {params.seed:q} --threads {threads} --output {output.table:q} "
        "--counts {output.counts:q} > {log:q} 2>&1"


rule annotate_rankings:
    input:
        weights(TEACHER, "teacher.model"),
        groups=rules.propose_candidates.output.table,
        prompt=RANKING_PROMPT,
        environment=environment(RL) if here(TEACHER) else [],
    output:
        table=f"{ANNOTATION}/rankings.parquet",
        groups=f"{ANNOTATION}/groups.jsonl",
        quality=f"{ANNOTATION}/rankings.json",
    log:
        f"{LOGS}/annotate_rankings.log",
    benchmark:
        f"{BENCHMARKS}/annotate_rankings.tsv"
    conda:
        f"../envs/{TEACHING}.yaml"
    threads: threads("annotate_rankings")
    resources:
        **resources("annotate_rankings"),
    params:
        python=python_of(RL) if here(TEACHER) else DRIVER,
        settings=json.dumps(
            without(asked(TEACHER, "teacher.model"), "candidates", "translations")
        ),
        journal=JOURNAL,
        seed=config["seed"],
    message:
        "Asking the teacher about groups of candidates (progress: {log})"
    shell:
        "{params.python:q} scripts/annotate_rankings.py --input {input.groups:q} --prompt {input.prompt:q} "
        "--settings {params.settings:q} --journal {params.journal:q} --seed {params.seed:q} --threads {threads} "
        "--output {output.table:q} --groups {output.groups:q} --quality {output.quality:q} > {log:q} 2>&1"


if TEACHER["translations"] is not None:

    rule annotate_translations:
        input:
            weights(TEACHER, "teacher.model"),
            pairs=TEACHER_PAIRS,
            prompt=TEACHER["translations"]["prompt"] or prompt("translation"),
            environment=environment(RL) if here(TEACHER) else [],
        output:
            table=f"{ANNOTATION}/{TRANSLATIONS_ASKED}.parquet",
            answers=f"{ANNOTATION}/translations.jsonl",
            quality=f"{ANNOTATION}/{TRANSLATIONS_ASKED}.json",
        log:
            f"{LOGS}/annotate_translations.log",
        benchmark:
            f"{BENCHMARKS}/annotate_translations.tsv"
        conda:
            f"../envs/{TEACHING}.yaml"
        threads: threads("annotate_translations")
        resources:
            **resources("annotate_translations"),
        params:
            python=python_of(RL) if here(TEACHER) else DRIVER,
            settings=json.dumps(
                without(asked(TEACHER, "teacher.model"), "candidates", "budget")
            ),
            journal=JOURNAL,
            seed=config["seed"],
        message:
            "Asking the teacher for translations (progress: {log})"
        shell:
            "{params.python:q} scripts/annotate_translations.py --pairs {input.pairs:q} --prompt {input.prompt:q} "
            "--settings {params.settings:q} --journal {params.journal:q} --seed {params.seed:q} --threads {threads} "
            "--output {output.table:q} --answers {output.answers:q} --quality {output.quality:q} > {log:q} 2>&1"


if SCREENED:

    rule screen_translations:
        input:
            table=rules.annotate_translations.output.table,
            answers=rules.annotate_translations.output.answers,
            quality=rules.annotate_translations.output.quality,
            model=model("comet"),
            environment=environment("comet"),
        output:
            table=f"{ANNOTATION}/translations.parquet",
            quality=f"{ANNOTATION}/translations.json",
        log:
            f"{LOGS}/screen_translations.log",
        benchmark:
            f"{BENCHMARKS}/screen_translations.tsv"
        conda:
            "../envs/comet.yaml"
        container:
            image("comet")
        threads: threads("screen_translations")
        resources:
            **resources("screen_translations"),
        params:
            python=python_of("comet"),
            least=TEACHER["translations"]["comet"],
        message:
            "Scoring the teacher's translations"
        shell:
            "{params.python:q} scripts/screen_translations.py --input {input.table:q} --answers {input.answers:q} "
            "--quality {input.quality:q} --model {input.model:q} --least {params.least:q} --threads {threads} "
            "--output {output.table:q} --output-quality {output.quality:q} > {log:q} 2>&1"


localrules:
    describe_annotation,


rule describe_annotation:
    input:
        candidates=rules.propose_candidates.output.counts,
        rankings=rules.annotate_rankings.output.quality,
        groups=rules.annotate_rankings.output.groups,
        translations=(
            f"{ANNOTATION}/translations.json"
            if TEACHER["translations"] is not None
            else []
        ),
        assets=["report/page/annotation.html.j2", "report/page/macros.html.j2"],
        style=[
            "report/page/page.css",
            "report/page/page.js",
            "report/page/annotation.js",
        ],
    output:
        page=report(
            ANNOTATION_PAGE,
            caption="../report/annotation.rst",
            category="Ranking data",
            labels={"what": "what the teacher made"},
        ),
    log:
        f"{LOGS}/describe_annotation.log",
    conda:
        "../envs/driver.yaml"
    resources:
        **resources("describe_annotation"),
    params:
        experiment=config["experiment"],
        translations=lambda wildcards, input: option(
            "--translations", input.translations
        ),
    message:
        "Describing the data that the teacher made"
    shell:
        "python scripts/describe_annotation.py --experiment {params.experiment:q} --candidates {input.candidates:q} "
        "--rankings {input.rankings:q} --groups {input.groups:q} {params.translations:q} --output {output.page:q} "
        "> {log:q} 2>&1"
