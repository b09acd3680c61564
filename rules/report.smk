# What was found: tables, curves, samples, and Snakemake's own report.


localrules:
    render_page,
    plot_curves,
    summarize,
    write_config,
    render_report,


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
    container:
        image(RL)
    threads: threads("judge_translations")
    resources:
        **resources("judge_translations"),
    params:
        python=python_of(RL),
        translations=named(TRANSLATIONS),
        limit=config["evaluate"]["samples"],
        answering=answering("ranking"),
        seed=config["seed"],
    message:
        "Asking the judge about the translations before and after GRPO"
    shell:
        "{params.python:q} scripts/judge_translations.py --model {input.model:q} --reference {input.segments:q} "
        "--translations {params.translations:q} --prompt {input.prompt:q} --limit {params.limit:q} "
        "{params.answering:q} --seed {params.seed:q} --threads {threads} --output {output.samples:q} > {log:q} 2>&1"


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
    resources:
        **resources("plot_curves"),
    message:
        "Plotting the curves of {wildcards.stage}"
    shell:
        "python scripts/plot_curves.py --curve {input.curve:q} --title {wildcards.stage:q} "
        "--output {output.figure:q} > {log:q} 2>&1"


rule summarize:
    input:
        ranking=rules.score_rankings.output.scores,
        translation=rules.score_translations.output.scores,
        samples=rules.judge_translations.output.samples,
        leakage=rules.check_leakage.output.found,
        curves=[curve(stage) for stage in TRAINED],
        config=f"{RESULTS}/config.yaml",
        provenance=f"{RESULTS}/provenance",
        published="config/reference_results.yaml",
        checkpoints=f"{RESULTS}/evaluation/checkpoints.json" if CHECKPOINTS else [],
        reward_kinds=REWARD_KINDS if COMPARED_KINDS else [],
        efficiency=f"{RESULTS}/efficiency.json",
    output:
        summary=f"{RESULTS}/summary.json",
        markdown=f"{RESULTS}/summary.md",
    log:
        f"{LOGS}/summarize.log",
    conda:
        "../envs/driver.yaml"
    resources:
        **resources("summarize"),
    params:
        curves=named({stage: curve(stage) for stage in TRAINED}),
        benchmarks=BENCHMARKS,
        parts=lambda wildcards, input: [
            word
            for part in ("checkpoints", "reward-kinds", "efficiency")
            for word in option(f"--{part}", input.get(part.replace("-", "_")))
        ],
    message:
        "Gathering scores, curves and times"
    shell:
        "python scripts/summarize.py --config {input.config:q} --provenance {input.provenance:q} "
        "--ranking {input.ranking:q} --translation {input.translation:q} --leakage {input.leakage:q} "
        "--curves {params.curves:q} --samples {input.samples:q} --benchmarks {params.benchmarks:q} "
        "--published {input.published:q} {params.parts:q} --output-json {output.summary:q} "
        "--output-markdown {output.markdown:q} > {log:q} 2>&1"


rule render_page:
    input:
        *SEGMENT_SCORES.values(),
        **TRANSLATIONS,
        assets=["report/page/index.html.j2", "report/page/macros.html.j2"],
        style=["report/page/page.css", "report/page/page.js"],
        summary=rules.summarize.output.summary,
        segments=TABLES["translation_test"],
        samples=rules.judge_translations.output.samples,
    output:
        page=report(
            f"{RESULTS}/report/index.html",
            caption="../report/page.rst",
            category="Results",
            labels={"what": "everything on one page"},
        ),
        samples=directory(f"{RESULTS}/report/samples"),
    log:
        f"{LOGS}/render_page.log",
    conda:
        "../envs/driver.yaml"
    resources:
        **resources("render_page"),
    params:
        translations=named(TRANSLATIONS),
        segment_scores=named(SEGMENT_SCORES),
    message:
        "Rendering the page of the report"
    shell:
        "python scripts/render_page.py --summary {input.summary:q} --segments {input.segments:q} "
        "--translations {params.translations:q} --segment-scores {params.segment_scores:q} --judged {input.samples:q} "
        "--output {output.page:q} --samples {output.samples:q} > {log:q} 2>&1"


rule write_config:
    output:
        config=f"{RESULTS}/config.yaml",
    log:
        f"{LOGS}/write_config.log",
    conda:
        "../envs/driver.yaml"
    resources:
        **resources("write_config"),
    params:
        config=settings(),
    message:
        "Keeping the resolved configuration"
    shell:
        "python scripts/write_config.py --config {params.config:q} --output {output.config:q} > {log:q} 2>&1"


rule render_report:
    input:
        rules.render_page.output.page,
        expand(rules.plot_curves.output, stage=TRAINED),
        config=rules.write_config.output.config,
    output:
        report=f"{RESULTS}/report/report.html",
        archive=f"{RESULTS}/report/report.zip",
    log:
        f"{LOGS}/render_report.log",
    conda:
        "../envs/driver.yaml"
    resources:
        **resources("render_report"),
    params:
        targets=lambda wildcards, input: [
            path for path in input if path != input.config
        ],
    message:
        "Rendering Snakemake's report"
    shell:
        "python scripts/render_report.py --configfile {input.config:q} --targets {params.targets:q} "
        "--output {output.report:q} {output.archive:q} > {log:q} 2>&1"
