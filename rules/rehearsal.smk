# A rehearsal: two steps of each training, watched, and what the experiment will take by them.


localrules:
    report_rehearsal,


rule rehearse_sft:
    input:
        config=f"{RESULTS}/configs/{{run}}.yaml",
        data=lambda wildcards: prepared(wildcards.run),
        models=lambda wildcards: models_at_hand(wildcards.run),
        card=lambda wildcards: (
            f"{RESULTS}/configs/{wildcards.run}/judge.json"
            if REHEARSED[wildcards.run].engine == "bt"
            else []
        ),
        environment=environment(SFT),
    output:
        outcome=f"{REHEARSAL}/{{run}}.json",
    log:
        f"{LOGS}/rehearse_{{run}}.log",
    wildcard_constraints:
        run=rehearsed_by("rehearse_sft"),
    # Whatever the profile says: what failed is a row of the report.
    retries: 0
    conda:
        f"../envs/{SFT}.yaml"
    container:
        training_image(SFT, "rehearse_sft")
    threads: lambda wildcards: threads(f"train_{REHEARSED[wildcards.run].rule_name}")
    resources:
        **resources("rehearse_sft"),
    params:
        python=training_python(SFT, "rehearse_sft"),
        devices=config["hardware"]["nodes"] * config["hardware"]["gpus_per_node"],
        folder=lambda wildcards: f"{REHEARSAL}/{wildcards.run}",
        options=lambda wildcards: rehearsal_options(wildcards.run),
    message:
        "Rehearsing {wildcards.run} (progress: {log})"
    shell:
        "python scripts/rehearse.py --stage {wildcards.run:q} --config {input.config:q} --data {input.data:q} "
        "--python {params.python:q} --devices {params.devices:q} --folder {params.folder:q} "
        "--output {output.outcome:q} {params.options:q} > {log:q} 2>&1"


rule rehearse_rl:
    input:
        config=f"{RESULTS}/configs/{{run}}.yaml",
        data=lambda wildcards: prepared(wildcards.run),
        models=lambda wildcards: models_at_hand(wildcards.run),
        environment=rl_environment(),
        scorer_environment=lambda wildcards: (
            scoring_environments(wildcards) if wildcards.run in GRPO_RUNS else []
        ),
    output:
        outcome=f"{REHEARSAL}/{{run}}.json",
    log:
        f"{LOGS}/rehearse_{{run}}.log",
    wildcard_constraints:
        run=rehearsed_by("rehearse_rl"),
    retries: 0
    conda:
        f"../envs/{RL}.yaml"
    container:
        training_image(RL, "rehearse_rl")
    threads: lambda wildcards: threads(f"train_{REHEARSED[wildcards.run].rule_name}")
    resources:
        **resources("rehearse_rl"),
    params:
        python=lambda wildcards: (
            training_python(RL, "rehearse_rl")
            if REHEARSED[wildcards.run].part
            else rl_python("rehearse_rl")
        ),
        folder=lambda wildcards: f"{REHEARSAL}/{wildcards.run}",
        options=lambda wildcards: rehearsal_options(wildcards.run),
    message:
        "Rehearsing {wildcards.run} (progress: {log})"
    shell:
        "python scripts/rehearse.py --stage {wildcards.run:q} --config {input.config:q} --data {input.data:q} "
        "--python {params.python:q} --folder {params.folder:q} "
        "--output {output.outcome:q} {params.options:q} > {log:q} 2>&1"


# When a rehearsal fails, this is done after all that went on (rehearsal_names.smk).
rule report_rehearsal:
    input:
        outcomes=expand(f"{REHEARSAL}/{{run}}.json", run=REHEARSED),
        config=rules.write_config.output.config,
    output:
        report=f"{RESULTS}/rehearsal.md",
    log:
        f"{LOGS}/report_rehearsal.log",
    conda:
        "../envs/driver.yaml"
    resources:
        **resources("report_rehearsal"),
    params:
        changes=json.dumps(
            {key: config[key] for key in ("cluster", "resources", "rehearsal")}
        ),
        folder=lambda wildcards, input: str(Path(input.outcomes[0]).parent),
    message:
        "Writing what the rehearsal found: {output.report}"
    shell:
        "python scripts/report_rehearsal.py --config {input.config:q} --overlay {params.changes:q} "
        "--folder {params.folder:q} --output {output.report:q} 2>&1 | tee {log:q}"
