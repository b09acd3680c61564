# One virtual environment per stage, from its hash-locked requirements.


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
        "python scripts/build_environment.py --lock {input.lock:q} --folder {params.folder:q} {params.flash_attn:q} "
        "--output {output.record:q} > {log:q} 2>&1"
