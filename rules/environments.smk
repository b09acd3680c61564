# One virtual environment per stage, from its hash-locked requirements.


rule build_environment:
    input:
        lock="envs/{name}.txt",
    output:
        record=f"{config['environments']['folder']}/{{name}}.json",
    log:
        f"{config['environments']['folder']}/{{name}}.log",
    threads: 1
    params:
        folder=environment_folder("{name}"),
    message:
        "Building the environment {wildcards.name} (downloads its packages the first time)"
    shell:
        "{DRIVER} scripts/build_environment.py --lock {input.lock} --folder {params.folder} "
        "--output {output.record} > {log} 2>&1"
