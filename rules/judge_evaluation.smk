# Judges: asked about held-out rows before and after their training, scored, summed up.


rule ask_judge:
    input:
        model=model("{judge}"),
        # Before its training a judge has no card: it is asked what the trained one is.
        card=f"{RESULTS}/configs/judge_{{kind}}/judge.json",
        rows=judge_data("{kind}_test"),
        environment=environment(RL),
    output:
        answers=f"{RESULTS}/evaluation/judges/{{kind}}/{{judge}}.jsonl",
    log:
        f"{LOGS}/ask_judge_{{kind}}_{{judge}}.log",
    benchmark:
        f"{BENCHMARKS}/ask_judge_{{kind}}_{{judge}}.tsv"
    wildcard_constraints:
        judge="judge_[a-z_]+",
    conda:
        f"../envs/{RL}.yaml"
    container:
        image(RL)
    threads: threads("ask_judge")
    resources:
        **resources("ask_judge"),
    params:
        python=python_of(RL),
        batch_size=JUDGES["evaluate"]["batch_size"],
        seed=config["seed"],
    message:
        "Asking {wildcards.judge} about the held-out {wildcards.kind} rows"
    shell:
        "{params.python:q} scripts/ask_judge.py --mode {wildcards.kind:q} --model {input.model:q} "
        "--card {input.card:q} --input {input.rows:q} --batch-size {params.batch_size:q} "
        "--seed {params.seed:q} --threads {threads} --output {output.answers:q} > {log:q} 2>&1"


rule score_judges:
    input:
        unpack(lambda wildcards: judge_answers(wildcards.kind)),
        rows=judge_data("{kind}_test"),
    output:
        scores=f"{RESULTS}/evaluation/judge_{{kind}}.json",
    log:
        f"{LOGS}/score_judges_{{kind}}.log",
    conda:
        "../envs/driver.yaml"
    resources:
        **resources("score_judges"),
    params:
        answers=lambda wildcards: named(judge_answers(wildcards.kind)),
        samples=JUDGES["evaluate"]["bootstrap_samples"],
        seed=config["seed"],
    message:
        "Scoring the {wildcards.kind} judge, before and after its training"
    shell:
        "python scripts/score_judges.py --mode {wildcards.kind:q} --reference {input.rows:q} "
        "--answers {params.answers:q} --samples {params.samples:q} --seed {params.seed:q} "
        "--output {output.scores:q} > {log:q} 2>&1"


rule summarize_judges:
    input:
        **JUDGE_SCORES,
        alignment=ALIGNMENT_SUMMARY if config["alignment"] else [],
    output:
        markdown=f"{RESULTS}/judges.md",
        page=report(
            f"{RESULTS}/report/judges.html",
            caption="../report/judges.rst",
            category="Judges",
            labels={"what": "agreement before and after"},
        ),
    log:
        f"{LOGS}/summarize_judges.log",
    conda:
        "../envs/driver.yaml"
    resources:
        **resources("summarize_judges"),
    params:
        scores=list(JUDGE_SCORES.values()),
        alignment=lambda wildcards, input: option("--alignment", input.alignment),
        experiment=config["experiment"],
        seed=config["seed"],
    message:
        "Gathering what the judges have learnt"
    shell:
        "python scripts/summarize_judges.py --experiment {params.experiment:q} --seed {params.seed:q} "
        "--scores {params.scores:q} {params.alignment:q} --output-markdown {output.markdown:q} --output-html {output.page:q} "
        "> {log:q} 2>&1"


# Of the judges alone: the rest of the chain need not be run for them.
rule write_judge_provenance:
    input:
        JUDGE_SCORES.values(),
        [environment(name) for name in sorted({SFT, RL})],
        config=rules.write_config.output.config,
        locks=[f"envs/{name}.txt" for name in ["driver", *sorted({SFT, RL})]],
        data=LOCK if JUDGES["data"]["source"] == "hub" else [],
        files=own_judge_rows,
    output:
        folder=directory(f"{RESULTS}/provenance_judges"),
    log:
        f"{LOGS}/write_judge_provenance.log",
    conda:
        "../envs/driver.yaml"
    resources:
        **resources("write_judge_provenance"),
    params:
        locks=named(
            {name: f"envs/{name}.txt" for name in ["driver", *sorted({SFT, RL})]}
        ),
        records=option(
            "--records",
            (
                named({name: environment_record(name) for name in sorted({SFT, RL})})
                if deployed_by() == "uv"
                else []
            ),
        ),
        data=lambda wildcards, input: [
            *option("--data-lock", input.data),
            *option("--files", input.get("files", [])),
        ],
    message:
        "Keeping what made the judges"
    shell:
        "python scripts/write_provenance.py --config {input.config:q} --locks {params.locks:q} "
        "{params.records:q} {params.data:q} --output {output.folder:q} > {log:q} 2>&1"
