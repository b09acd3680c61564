# Where rules run: in which environment, on which machines, with how much of them. Look-ups only.

import atexit


def threads(rule):
    """Cores of a rule on each node, from config/resources.yaml."""
    return request(rule, RESOURCES, config).threads


def resources(rule):
    """What a rule asks for, from config/resources.yaml and, on a cluster, config/cluster.yaml."""
    asked = requests(rule, RESOURCES, config)
    found = resources_of_runs(asked, config["cluster"])
    if any(one.gpus for one in asked.values()):
        # Which executor it is, is not known yet while this file is read.
        found["gpu_jobs"] = lambda wildcards: 0 if on_slurm() else 1
    return found


def deployed_by():
    """What provides the stages' software: conda or apptainer (--sdm), or uv and the rule build_environment."""
    methods = {
        method.name.lower() for method in workflow.deployment_settings.deployment_method
    }
    return next((name for name in ("apptainer", "conda") if name in methods), "uv")


# Long before it is known whether it is the one. Its plugin is loaded if it is installed.
if "snakemake_executor_plugin_slurm" in sys.modules:
    from grrm.slurm.executor import check_extra, take_over

    try:
        check_extra(config["cluster"])
    except UserError as error:
        raise WorkflowError(str(error))
    take_over(config["experiment"])


def on_slurm():
    return (
        workflow.executor_plugin is not None
        and workflow.executor_plugin.name == "slurm"
    )


def say_plan():
    """After a dry run with `--profile slurm`, whose plan does not say who runs what."""
    given = " ".join([*sys.argv, os.environ.get("SNAKEMAKE_PROFILE", "")])
    if workflow.dryrun and "slurm" in given and workflow.dag:
        # A dry run calls all of them local.
        rules_run = [
            job.rule for job in workflow.dag.needrun_jobs(exclude_finished=False)
        ]
        print(
            describe_plan(
                (rule.name, rule.norun or rule.name in workflow._localrules)
                for rule in rules_run
            )
        )


if workflow.is_main_process:
    atexit.register(say_plan)


# Snakemake does not count the GPUs of its own machine: without Slurm one job takes them all, and the next one waits,
# unless --resources gpu_jobs=... says otherwise.
if CUDA and "gpu_jobs" not in workflow.global_resources:
    workflow.register_resource("gpu_jobs", 1)


# Published with flash-attn, which the locks leave out.
WITH_FLASH_ATTN = [
    training.name
    for training in PLANNED
    if (value_of(config, training.section) or {}).get("attention") == "fa2"
]
if (
    CUDA
    and workflow.is_main_process
    and WITH_FLASH_ATTN
    and not (deployed_by() == "uv" and config["environments"]["flash_attn"].get(SFT))
):
    print(
        f"attention: fa2 of {', '.join(WITH_FLASH_ATTN)}: {SFT} has no flash-attn, so they train with sdpa (the same "
        "but for rounding, slower); environments.flash_attn takes a wheel",
        file=sys.stderr,
    )


def preflight_options():
    """Options of scripts/preflight.py: how and where jobs run."""
    return ["--software", deployed_by(), *(["--slurm"] if on_slurm() else [])]


def image(name):
    """Container image of an environment, for --sdm apptainer."""
    return f"{config['environments']['images']}/{name}.sif"


def environment_folder(name):
    return f"{config['environments']['folder']}/{name}"


def environment_record(name):
    return f"{environment_folder(name)}.json"


def environment(name):
    """Input of whatever runs in the environment of a stage: its record, unless Snakemake provides it."""
    return [environment_record(name)] if deployed_by() == "uv" else []


def python_of(name):
    """Interpreter of the environment of a stage."""
    if deployed_by() == "uv":
        return f"{environment_folder(name)}/bin/python"
    return "python"


# Trainings on several machines start their processes by Slurm's commands, which images do not hold: their scripts run
# outside, and each process enters the image.
def enters_image(rule):
    several = any(one.nodes > 1 for one in requests(rule, RESOURCES, config).values())
    return deployed_by() == "apptainer" and several


def training_image(name, rule):
    return None if enters_image(rule) else image(name)


def training_python(name, rule):
    if not enters_image(rule):
        return python_of(name)
    path = f".snakemake/containers/{name}/bin/python"
    if workflow.is_main_process:
        arguments = workflow.deployment_settings.apptainer_args
        write_container_python(Path(path), image(name), arguments, cuda=CUDA)
    return path


def rl_environment():
    """Input of whatever runs verl; the fork's environment is the user's own."""
    return [] if FORK else environment(RL)


def rl_python(rule):
    return config["fork"]["python"] if FORK else training_python(RL, rule)


def extra_packages(name):
    """Option of build_environment for packages of the user's own; nothing without."""
    return option("--extra", config["environments"].get("extra", {}).get(name, []))


FLASH_ATTN = [
    name for name, wheel in config["environments"]["flash_attn"].items() if wheel
]
if FLASH_ATTN and deployed_by() != "uv" and workflow.is_main_process:
    raise WorkflowError(
        f"environments.flash_attn names {', '.join(FLASH_ATTN)}, where --sdm {deployed_by()} "
        "installs the locked packages alone: leave the key out (trainings use attention sdpa), run without --sdm, or "
        "add the wheel to the recipe"
    )
if config["environments"].get("extra") and deployed_by() != "uv":
    raise WorkflowError(
        "environments.extra names packages, which conda and apptainer do not install: run without --sdm, or "
        "add them to the recipe"
    )
