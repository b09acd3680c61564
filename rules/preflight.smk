# Whether the experiment can run here: by itself (snakemake preflight), and before the first job on GPUs or training.

import yaml


localrules:
    preflight,


rule preflight:
    input:
        config=rules.write_config.output.config,
    output:
        findings=f"{RESULTS}/preflight.json",
    log:
        f"{LOGS}/preflight.log",
    # Whatever the profile says: it finds the same again.
    retries: 0
    conda:
        "../envs/driver.yaml"
    resources:
        **resources("preflight"),
    params:
        where=json.dumps({key: config[key] for key in ("cluster", "resources")}),
        options=lambda wildcards: preflight_options(),
    message:
        "Looking whether the experiment can run here"
    shell:
        "python scripts/preflight.py --config {input.config:q} --overlay {params.where:q} {params.options:q} "
        "--output {output.findings:q} 2>&1 | tee {log:q}"


# Not an input of the trainings: what was true when a model was made says nothing today, and a model must not be
# made anew because a disk was looked at.
onstart:
    hold_workflow()
    jobs = list(workflow.dag.needrun_jobs())
    # Without Slurm all of them are local.
    rules_run = sorted(
        {job.rule.name for job in jobs if not (on_slurm() and job.is_local)}
    )
    if any(job.rule.name.startswith("rehearse_") for job in jobs):
        # One that fails is a row of the report: the others go on.
        workflow.scheduler.keepgoing = True
    on_gpus = any("gres" in job.rule.resources for job in jobs)
    trained = [
        Path(job.output.model).name
        for job in jobs
        if job.rule.name.startswith("train_")
    ]
    if on_gpus or (trained and on_slurm()):
        command = [sys.executable, "scripts/preflight.py", "--config", "-"]
        done = subprocess.run(
            [
                *command,
                *preflight_options(),
                *("--rules", *rules_run),
                *("--trained", *trained),
            ],
            input=yaml.safe_dump(config),
            text=True,
        )
        if done.returncode:
            raise WorkflowError(
                "nothing was started: the table above says what to change"
            )
    if on_slurm():
        prefix = workflow.executor_settings.jobname_prefix or ""
        names = {
            job_name(config["experiment"], job.rule.name, job.wildcards, prefix)
            for job in jobs
            if not job.is_local
        }
        try:
            if left := check_queue(names, Path.cwd(), own_jobs(AGAIN)):
                raise WorkflowError(left)
        except UserError as error:
            raise WorkflowError(str(error))
