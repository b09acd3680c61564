# What was found: tables, curves, samples, and Snakemake's own report.


rule judge_translations:
    input:
        **TRANSLATIONS,
        model=model("grrm_rlvr"),
        segments=TABLES["translation_test"],
        prompt=prompt("ranking"),
        environment=environment(RL),
    output:
        samples=f"{RESULTS}/evaluation/samples.jsonl",
    log:
        f"{LOGS}/judge_translations.log",
    benchmark:
        f"{BENCHMARKS}/judge_translations.tsv"
    conda:
        f"../envs/{RL}.yaml"
    params:
        python=python_of(RL),
        translations=named(TRANSLATIONS),
        limit=config["evaluate"]["samples"],
        answering=answering("ranking"),
        seed=config["seed"],
    message:
        "Asking the judge about the translations before and after GRPO"
    shell:
        "{params.python} scripts/judge_translations.py --model {input.model} --reference {input.segments} "
        "--translations {params.translations} --prompt {input.prompt} --limit {params.limit} "
        "{params.answering} --seed {params.seed} --threads {threads} --output {output.samples} > {log} 2>&1"


rule render_samples:
    input:
        samples=rules.judge_translations.output.samples,
    output:
        page=report(
            f"{RESULTS}/report/samples.html",
            caption="../report/samples.rst",
            category="Translations",
            labels={"what": "samples with the judge's words"},
        ),
    log:
        f"{LOGS}/render_samples.log",
    conda:
        "../envs/driver.yaml"
    message:
        "Rendering the samples"
    shell:
        "python scripts/render_samples.py --samples {input.samples} --output {output.page} > {log} 2>&1"


rule plot_curves:
    input:
        curve=curve("{stage}"),
    output:
        figure=report(
            f"{RESULTS}/report/curves_{{stage}}.svg",
            caption="../report/curves.rst",
            category="Training curves",
            labels={"stage": "{stage}"},
        ),
    log:
        f"{LOGS}/plot_curves_{{stage}}.log",
    conda:
        "../envs/driver.yaml"
    message:
        "Plotting the curves of {wildcards.stage}"
    shell:
        "python scripts/plot_curves.py --curve {input.curve} --title {wildcards.stage} "
        "--output {output.figure} > {log} 2>&1"


rule summarize:
    input:
        ranking=rules.score_rankings.output.scores,
        translation=rules.score_translations.output.scores,
        samples=rules.judge_translations.output.samples,
        leakage=rules.check_leakage.output.found,
        curves=[curve(stage) for stage in TRAINED],
    output:
        summary=f"{RESULTS}/summary.json",
        markdown=f"{RESULTS}/summary.md",
        page=report(
            f"{RESULTS}/report/summary.html",
            caption="../report/summary.rst",
            category="Results",
            labels={"what": "tables before and after"},
        ),
    log:
        f"{LOGS}/summarize.log",
    conda:
        "../envs/driver.yaml"
    params:
        experiment=config["experiment"],
        seed=config["seed"],
        curves=named({stage: curve(stage) for stage in TRAINED}),
        benchmarks=BENCHMARKS,
    message:
        "Gathering scores, curves and times"
    shell:
        "python scripts/summarize.py --experiment {params.experiment} --seed {params.seed} "
        "--ranking {input.ranking} --translation {input.translation} --curves {params.curves} "
        "--samples {input.samples} --benchmarks {params.benchmarks} --output-json {output.summary} "
        "--output-markdown {output.markdown} --output-html {output.page} > {log} 2>&1"


rule write_config:
    output:
        config=f"{RESULTS}/config.yaml",
    log:
        f"{LOGS}/write_config.log",
    conda:
        "../envs/driver.yaml"
    params:
        config=settings(),
    message:
        "Keeping the resolved configuration"
    shell:
        "python scripts/write_config.py --config {params.config:q} --output {output.config} > {log} 2>&1"


rule render_report:
    input:
        rules.summarize.output,
        rules.render_samples.output,
        expand(rules.plot_curves.output, stage=TRAINED),
        config=rules.write_config.output.config,
    output:
        report=f"{RESULTS}/report/report.html",
    log:
        f"{LOGS}/render_report.log",
    conda:
        "../envs/driver.yaml"
    params:
        targets=lambda wildcards, input: [
            path for path in input if path != input.config
        ],
    message:
        "Rendering Snakemake's report"
    shell:
        "python scripts/render_report.py --configfile {input.config} --targets {params.targets} "
        "--output {output.report} > {log} 2>&1"
