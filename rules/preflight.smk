# Whether the experiment can run here: by itself (snakemake preflight), and before the first job of a training.


localrules:
    preflight,


def on_slurm():
    return workflow.executor_plugin is not None and workflow.executor_plugin.name == "slurm"


def software():
    methods = workflow.deployment_settings.deployment_method
    return next(
        (
            name
            for name in ("apptainer", "conda")
            if name in {method.name.lower() for method in methods}
        ),
        "uv",
    )


def preflight_options(rules=()):
    """Options of scripts/preflight.py; the rules are those whose jobs Slurm will run, none for all."""
    slurm = ["--slurm", *rules] if on_slurm() else []
    return ["--settings", json.dumps(config), "--software", software(), *slurm]


rule preflight:
    output:
        findings=f"{RESULTS}/preflight.json",
    log:
        f"{LOGS}/preflight.log",
    conda:
        "../envs/driver.yaml"
    params:
        options=lambda wildcards: preflight_options(),
    message:
        "Looking whether the experiment can run here"
    shell:
        "python scripts/preflight.py {params.options:q} --output {output.findings} 2>&1 | tee {log}"


# Not an input of the trainings: what was true when a model was made says nothing today, and a model must not be
# made anew because a disk was looked at.
onstart:
    rules_to_run = sorted(
        {job.rule.name for job in workflow.dag.needrun_jobs() if not job.is_local}
    )
    if (CUDA or on_slurm()) and any(
        name.startswith("train_") for name in rules_to_run
    ):
        done = subprocess.run(
            [sys.executable, "scripts/preflight.py", *preflight_options(rules_to_run)]
        )
        if done.returncode:
            raise WorkflowError("preflight: nothing was started, see the table above")
