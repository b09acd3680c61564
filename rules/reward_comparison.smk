# Kinds of reward side by side: the translation model is trained with each, from the same model on the same rows,
# and the results are scored on the same held-out segments.

if config["reward_comparison"]:
    COMPARED_TRANSLATIONS = answers("translation", ["mt_sft", *COMPARED_KINDS.values()])
    # Each kind against the first one of the list, in pairs.
    _first, *_others = COMPARED_KINDS.values()
    AGAINST_FIRST = [f"{_first}={','.join(_others)}"] if _others else []

    use rule score_segments as score_comet_of_reward_kinds with:
        input:
            **COMPARED_TRANSLATIONS,
            model=model("comet"),
            files=[],
            segments=TABLES["translation_test"],
            environment=environment("comet"),
        output:
            scores=f"{RESULTS}/evaluation/reward_kinds_comet.json",
        log:
            f"{LOGS}/score_comet_of_reward_kinds.log",
        benchmark:
            f"{BENCHMARKS}/score_comet_of_reward_kinds.tsv"
        resources:
            **resources("score_comet_of_reward_kinds"),
        params:
            python=python_of("comet"),
            metric=["--metric", "comet"],
            model=option("--model", model("comet")),
            translations=named(COMPARED_TRANSLATIONS),
        message:
            "Scoring the translations of every kind of reward with COMET"

    use rule score_translations as score_translations_of_reward_kinds with:
        input:
            rules.score_comet_of_reward_kinds.output.scores,
            **COMPARED_TRANSLATIONS,
            segments=TABLES["translation_test"],
        output:
            scores=f"{RESULTS}/evaluation/reward_kinds_scores.json",
        log:
            f"{LOGS}/score_translations_of_reward_kinds.log",
        benchmark:
            f"{BENCHMARKS}/score_translations_of_reward_kinds.tsv"
        resources:
            **resources("score_translations_of_reward_kinds"),
        params:
            translations=named(COMPARED_TRANSLATIONS),
            segment_scores=named(
                {"comet": rules.score_comet_of_reward_kinds.output.scores}
            ),
            means=averages("translation"),
            # Options behind it: with a place of their own, the command of every evaluation would be another one.
            samples=followed_by(
                config["evaluate"]["bootstrap_samples"],
                option("--also", AGAINST_FIRST),
            ),
            seed=config["seed"],
        message:
            "Scoring the translations of every kind of reward"


if COMPARED_KINDS:

    rule compare_reward_kinds:
        input:
            # The experiment's own kind alone is scored already.
            scores=(
                rules.score_translations_of_reward_kinds.output.scores
                if config["reward_comparison"]
                else rules.score_translations.output.scores
            ),
            curves=[curve(run) for run in COMPARED_KINDS.values()],
            judge_calls=[
                f"{RESULTS}/curves/{run}.judge_calls.json"
                for run in COMPARED_KINDS.values()
            ],
        output:
            comparison=REWARD_KINDS,
        log:
            f"{LOGS}/compare_reward_kinds.log",
        conda:
            "../envs/driver.yaml"
        resources:
            **resources("compare_reward_kinds"),
        params:
            runs=named(COMPARED_KINDS),
            curves=lambda wildcards, input: Path(input.curves[0]).parent,
            seed=config["seed"],
        message:
            "Comparing kinds of reward: {output.comparison}"
        shell:
            "python scripts/compare_reward_kinds.py --scores {input.scores:q} --runs {params.runs:q} "
            "--curves {params.curves:q} --seed {params.seed:q} --output {output.comparison:q} > {log:q} 2>&1"
