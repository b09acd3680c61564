# One virtual environment per stage, from its hash-locked requirements.


localrules:
    build_environment,


def extra_packages(name):
    """Option of build_environment for packages of the user's own; nothing without."""
    packages = config["environments"].get("extra", {}).get(name, [])
    return f" --extra {' '.join(map(shlex.quote, packages))}" if packages else ""


if config["environments"].get("extra") and deployed_by() != "uv":
    raise WorkflowError(
        "environments.extra names packages, which conda and apptainer do not install: run without --sdm, or "
        "add them to the recipe"
    )


rule build_environment:
    input:
        lock="envs/{name}.txt",
    output:
        record=f"{config['environments']['folder']}/{{name}}.json",
    log:
        f"{config['environments']['folder']}/{{name}}.log",
    conda:
        "../envs/driver.yaml"
    resources:
        **resources("build_environment"),
    params:
        folder=lambda wildcards, output: str(Path(output.record).with_suffix("")),
        flash_attn=lambda wildcards: (
            option(
                "--flash-attn",
                config["environments"]["flash_attn"].get(wildcards.name),
            )
            + extra_packages(wildcards.name)
        ),
    message:
        "Building the environment {wildcards.name} (downloads its packages the first time)"
    shell:
        "python scripts/build_environment.py --lock {input.lock} --folder {params.folder} {params.flash_attn} "
        "--output {output.record} > {log} 2>&1"
