# The authors' own prompts, where the configuration asks for them: read out of a checkout of their repository.


# The checkout is no declared output: it may be the user's own.
rule fetch_upstream:
    input:
        upstream="config/upstream.yaml",
    output:
        ranking=upstream_prompt("ranking"),
        translation=upstream_prompt("translation"),
    log:
        f"{LOGS}/fetch_upstream.log",
    conda:
        "../envs/driver.yaml"
    resources:
        **resources("fetch_upstream"),
    params:
        checkout=config["prompts"]["checkout"],
    message:
        "Reading the authors' prompts out of {params.checkout}"
    shell:
        "python scripts/fetch_upstream.py --upstream {input.upstream:q} --checkout {params.checkout:q} "
        "--ranking {output.ranking:q} --translation {output.translation:q} > {log:q} 2>&1"
