# Held-out evaluation: ranking accuracy of the judges; BLEU, chrF++, COMET and others of the translation models.

# Answers to the same groups with their candidates in other orders: judge -> seed of an order -> file.
SHUFFLED = {
    judge: {
        config["seed"]
        + order: f"{RESULTS}/evaluation/ranking/orders/{judge}.{order}.jsonl"
        for order in range(1, config["evaluate"]["orders"] + 1)
    }
    for judge in COMPARISONS["ranking"]
}


wildcard_constraints:
    judge="|".join(row.name for row in of_part("") if row.task == "ranking"),
    translator="|".join(
        [
            *(row.name for row in of_part("") if row.task == "translation"),
            *CHECKPOINTS,
            *GRPO_RUNS,
        ]
    ),
    trained="|".join(name for name, metric in METRICS.items() if metric.train),


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
    container:
        image(RL)
    threads: threads("rank_candidates")
    resources:
        **resources("rank_candidates"),
    params:
        python=python_of(RL),
        answering=answering("ranking"),
        runs=config["evaluate"]["runs"],
        order="row",
        seed=config["seed"],
        # Answered by one process, which loads the model once; each is written down by a job of its own, so that a
        # further order makes none of the others anew. (A function of the output: no reason to run again.)
        also=lambda wildcards, output: option(
            "--also-shuffled", named(SHUFFLED.get(wildcards.judge, {}))
        ),
    message:
        "Ranking the held-out groups with {wildcards.judge}"
    shell:
        "{params.python:q} scripts/rank_candidates.py --model {input.model:q} --input {input.groups:q} "
        "--prompt {input.prompt:q} {params.answering:q} --runs {params.runs:q} --candidate-order {params.order:q} "
        "--seed {params.seed:q} {params.also:q} --threads {threads} --output {output.answers:q} > {log:q} 2>&1"


use rule rank_candidates as rank_shuffled_candidates with:
    input:
        # With these the same judge has answered the other orders.
        ancient(f"{RESULTS}/evaluation/ranking/{{judge}}.jsonl"),
        model=model("{judge}"),
        groups=TABLES["ranking_test"],
        prompt=prompt("ranking"),
        environment=environment(RL),
    output:
        answers=f"{RESULTS}/evaluation/ranking/orders/{{judge}}.{{order}}.jsonl",
    log:
        f"{LOGS}/rank_shuffled_candidates_{{judge}}_{{order}}.log",
    benchmark:
        f"{BENCHMARKS}/rank_shuffled_candidates_{{judge}}_{{order}}.tsv"
    resources:
        **resources("rank_shuffled_candidates"),
    params:
        python=python_of(RL),
        answering=answering("ranking"),
        runs=1,
        order="shuffled",
        seed=lambda wildcards: config["seed"] + int(wildcards.order),
        also=[],
    message:
        "Ranking the held-out groups in another order with {wildcards.judge}"


rule score_rankings:
    input:
        *[list(files.values()) for files in SHUFFLED.values()],
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
    resources:
        **resources("score_rankings"),
    params:
        rankings=named(RANKINGS),
        shuffled=named(
            {
                judge: ",".join(files.values())
                for judge, files in SHUFFLED.items()
                if files
            }
        ),
        means=averages("ranking"),
        samples=config["evaluate"]["bootstrap_samples"],
        seed=config["seed"],
    message:
        "Scoring the rankings, before and after RLVR"
    shell:
        "python scripts/score_rankings.py --reference {input.groups:q} --rankings {params.rankings:q} "
        "--shuffled {params.shuffled:q} --means {params.means:q} --samples {params.samples:q} --seed {params.seed:q} --output {output.scores:q} > {log:q} 2>&1"


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
    container:
        image(RL)
    threads: threads("translate_segments")
    resources:
        **resources("translate_segments"),
    params:
        python=python_of(RL),
        answering=answering("translation"),
        runs=config["evaluate"]["runs"],
        seed=config["seed"],
    message:
        "Translating the held-out segments with {wildcards.translator}"
    shell:
        "{params.python:q} scripts/translate_segments.py --model {input.model:q} --input {input.segments:q} "
        "--prompt {input.prompt:q} {params.answering:q} --runs {params.runs:q} --seed {params.seed:q} "
        "--threads {threads} --output {output.answers:q} > {log:q} 2>&1"


rule train_metric:
    input:
        pairs=TABLES["mt_grpo"],
        environment=environment("comet"),
    output:
        model=directory(model("{trained}")),
    log:
        f"{LOGS}/train_{{trained}}.log",
    benchmark:
        f"{BENCHMARKS}/train_{{trained}}.tsv"
    conda:
        "../envs/comet.yaml"
    container:
        image("comet")
    threads: threads("train_metric")
    resources:
        **resources("train_metric"),
    params:
        python=python_of("comet"),
        steps=lambda wildcards: METRICS[wildcards.trained].settings(config)["steps"],
        seed=config["seed"],
    message:
        "Training a tiny {wildcards.trained} checkpoint on translations of known quality"
    shell:
        "{params.python:q} scripts/train_metric.py --metric {wildcards.trained:q} --data {input.pairs:q} "
        "--steps {params.steps:q} --seed {params.seed:q} --threads {threads} --output {output.model:q} > {log:q} 2>&1"


# Metrics that are checkpoints, in their own environment.
rule score_segments:
    input:
        **TRANSLATIONS,
        **CHECKPOINT_TRANSLATIONS,
        model=metric_model,
        files=metric_files,
        segments=TABLES["translation_test"],
        environment=environment("comet"),
    output:
        scores=f"{RESULTS}/evaluation/{{metric}}.json",
    log:
        f"{LOGS}/score_{{metric}}.log",
    benchmark:
        f"{BENCHMARKS}/score_{{metric}}.tsv"
    wildcard_constraints:
        metric=scored_in("comet"),
    conda:
        "../envs/comet.yaml"
    container:
        image("comet")
    threads: threads("score_segments")
    resources:
        **resources("score_segments"),
    params:
        python=python_of("comet"),
        metric=lambda wildcards: which_metric(wildcards.metric),
        model=lambda wildcards, input: option("--model", input.model),
        translations=named({**TRANSLATIONS, **CHECKPOINT_TRANSLATIONS}),
    message:
        "Scoring the translations with {wildcards.metric}"
    shell:
        "{params.python:q} scripts/score_segments.py {params.metric:q} {params.model:q} "
        "--reference {input.segments:q} --translations {params.translations:q} --threads {threads} "
        "--output {output.scores:q} > {log:q} 2>&1"


# Metrics that need no more than the driver's software: an endpoint, a function of one's own.
use rule score_segments as score_segments_in_driver with:
    input:
        **TRANSLATIONS,
        **CHECKPOINT_TRANSLATIONS,
        model=metric_model,
        files=metric_files,
        segments=TABLES["translation_test"],
    wildcard_constraints:
        metric=scored_in("driver"),
    conda:
        "../envs/driver.yaml"
    container:
        None
    threads: threads("score_segments_in_driver")
    resources:
        **resources("score_segments_in_driver"),
    params:
        python=DRIVER,
        metric=lambda wildcards: which_metric(wildcards.metric),
        model=lambda wildcards, input: option("--model", input.model),
        translations=named({**TRANSLATIONS, **CHECKPOINT_TRANSLATIONS}),


rule score_translations:
    input:
        *SEGMENT_SCORES.values(),
        **TRANSLATIONS,
        segments=TABLES["translation_test"],
    output:
        scores=f"{RESULTS}/evaluation/translation.json",
    log:
        f"{LOGS}/score_translations.log",
    benchmark:
        f"{BENCHMARKS}/score_translations.tsv"
    conda:
        "../envs/driver.yaml"
    resources:
        **resources("score_translations"),
    params:
        translations=named(TRANSLATIONS),
        segment_scores=named(SEGMENT_SCORES),
        means=averages("translation"),
        samples=config["evaluate"]["bootstrap_samples"],
        seed=config["seed"],
    message:
        "Scoring the translations, before and after GRPO"
    shell:
        "python scripts/score_translations.py --reference {input.segments:q} "
        "--translations {params.translations:q} --segment-scores {params.segment_scores:q} "
        "--means {params.means:q} --samples {params.samples:q} --seed {params.seed:q} --output {output.scores:q} "
        "> {log:q} 2>&1"


rule take_checkpoint:
    input:
        # Its training has kept them on the way.
        model=model("mt_grpo"),
    output:
        model=directory(model("mt_grpo_{step}")),
    log:
        f"{LOGS}/take_checkpoint_{{step}}.log",
    wildcard_constraints:
        step="[0-9]+",
    conda:
        "../envs/driver.yaml"
    resources:
        **resources("take_checkpoint"),
    params:
        source=f"{checkpoints('mt_grpo')}/kept/{{step}}",
        reference="mt_grpo, step {step}",
    message:
        "Taking the translation model after step {wildcards.step} of GRPO"
    shell:
        "python scripts/take_model.py --source {params.source:q} "
        "--reference {params.reference:q} --output {output.model:q} > {log:q} 2>&1"


rule score_checkpoints:
    input:
        *SEGMENT_SCORES.values(),
        **TRANSLATIONS,
        **CHECKPOINT_TRANSLATIONS,
        segments=TABLES["translation_test"],
        curve=curve("mt_grpo"),
    output:
        scores=f"{RESULTS}/evaluation/checkpoints.json",
    log:
        f"{LOGS}/score_checkpoints.log",
    benchmark:
        f"{BENCHMARKS}/score_checkpoints.tsv"
    conda:
        "../envs/driver.yaml"
    resources:
        **resources("score_checkpoints"),
    params:
        before=option("--before", named(answers("translation", ["mt_sft"]))),
        checkpoints=named(CHECKPOINT_TRANSLATIONS),
        steps=named(CHECKPOINTS),
        after=named(answers("translation", ["mt_grpo"])),
        segment_scores=named(SEGMENT_SCORES),
        samples=config["evaluate"]["bootstrap_samples"],
        seed=config["seed"],
    message:
        "Scoring the translation model on the way of GRPO"
    shell:
        "python scripts/score_checkpoints.py --reference {input.segments:q} {params.before:q} "
        "--checkpoints {params.checkpoints:q} --steps {params.steps:q} --after {params.after:q} "
        "--segment-scores {params.segment_scores:q} --curve {input.curve:q} --samples {params.samples:q} "
        "--seed {params.seed:q} --output {output.scores:q} > {log:q} 2>&1"
