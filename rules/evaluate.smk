# Held-out evaluation: ranking accuracy of the judges, BLEU, chrF++ and COMET of the translation models.


rule rank_candidates:
    input:
        model=model("{judge}"),
        groups=TABLES["ranking_test"],
        prompt=prompt("ranking"),
        environment=environment(RL),
    output:
        answers=f"{RESULTS}/evaluation/ranking/{{judge}}.jsonl",
    log:
        f"{LOGS}/rank_candidates_{{judge}}.log",
    benchmark:
        f"{BENCHMARKS}/rank_candidates_{{judge}}.tsv"
    conda:
        f"../envs/{RL}.yaml"
    threads: 1
    params:
        python=python_of(RL),
        answering=answering("ranking"),
        runs=config["evaluate"]["runs"],
        seed=config["seed"],
    message:
        "Ranking the held-out groups with {wildcards.judge}"
    shell:
        "{params.python} scripts/rank_candidates.py --model {input.model} --input {input.groups} "
        "--prompt {input.prompt} {params.answering} --runs {params.runs} --seed {params.seed} "
        "--threads {threads} --output {output.answers} > {log} 2>&1"


rule score_rankings:
    input:
        **RANKINGS,
        groups=TABLES["ranking_test"],
    output:
        scores=f"{RESULTS}/evaluation/ranking.json",
    log:
        f"{LOGS}/score_rankings.log",
    benchmark:
        f"{BENCHMARKS}/score_rankings.tsv"
    conda:
        "../envs/driver.yaml"
    params:
        rankings=named(RANKINGS),
        samples=config["evaluate"]["bootstrap_samples"],
        seed=config["seed"],
    message:
        "Scoring the rankings, before and after RLVR"
    shell:
        "python scripts/score_rankings.py --reference {input.groups} --rankings {params.rankings} "
        "--samples {params.samples} --seed {params.seed} --output {output.scores} > {log} 2>&1"


rule translate_segments:
    input:
        model=model("{translator}"),
        segments=TABLES["translation_test"],
        prompt=prompt("translation"),
        environment=environment(RL),
    output:
        answers=f"{RESULTS}/evaluation/translation/{{translator}}.jsonl",
    log:
        f"{LOGS}/translate_segments_{{translator}}.log",
    benchmark:
        f"{BENCHMARKS}/translate_segments_{{translator}}.tsv"
    conda:
        f"../envs/{RL}.yaml"
    threads: 1
    params:
        python=python_of(RL),
        answering=answering("translation"),
        runs=config["evaluate"]["runs"],
        seed=config["seed"],
    message:
        "Translating the held-out segments with {wildcards.translator}"
    shell:
        "{params.python} scripts/translate_segments.py --model {input.model} --input {input.segments} "
        "--prompt {input.prompt} {params.answering} --runs {params.runs} --seed {params.seed} "
        "--threads {threads} --output {output.answers} > {log} 2>&1"


rule train_comet:
    input:
        pairs=TABLES["mt_grpo"],
        environment=environment("comet"),
    output:
        model=directory(model("comet")),
    log:
        f"{LOGS}/train_comet.log",
    benchmark:
        f"{BENCHMARKS}/train_comet.tsv"
    conda:
        "../envs/comet.yaml"
    threads: config["comet"]["threads"]
    params:
        python=python_of("comet"),
        steps=config["comet"]["steps"],
        seed=config["seed"],
    message:
        "Training a tiny COMET checkpoint on translations of known quality"
    shell:
        "{params.python} scripts/train_comet.py --data {input.pairs} --steps {params.steps} "
        "--seed {params.seed} --threads {threads} --output {output.model} > {log} 2>&1"


rule score_comet:
    input:
        **TRANSLATIONS,
        model=model("comet"),
        segments=TABLES["translation_test"],
        environment=environment("comet"),
    output:
        scores=f"{RESULTS}/evaluation/comet.json",
    log:
        f"{LOGS}/score_comet.log",
    benchmark:
        f"{BENCHMARKS}/score_comet.tsv"
    conda:
        "../envs/comet.yaml"
    threads: config["comet"]["threads"]
    params:
        python=python_of("comet"),
        translations=named(TRANSLATIONS),
    message:
        "Scoring the translations with COMET"
    shell:
        "{params.python} scripts/score_comet.py --model {input.model} --reference {input.segments} "
        "--translations {params.translations} --threads {threads} --output {output.scores} > {log} 2>&1"


rule score_translations:
    input:
        **TRANSLATIONS,
        comet=rules.score_comet.output.scores,
        segments=TABLES["translation_test"],
    output:
        scores=f"{RESULTS}/evaluation/translation.json",
    log:
        f"{LOGS}/score_translations.log",
    benchmark:
        f"{BENCHMARKS}/score_translations.tsv"
    conda:
        "../envs/driver.yaml"
    params:
        translations=named(TRANSLATIONS),
        samples=config["evaluate"]["bootstrap_samples"],
        seed=config["seed"],
    message:
        "Scoring the translations, before and after GRPO"
    shell:
        "python scripts/score_translations.py --reference {input.segments} "
        "--translations {params.translations} --comet {input.comet} --samples {params.samples} "
        "--seed {params.seed} --output {output.scores} > {log} 2>&1"
