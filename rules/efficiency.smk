# What the experiment took on its GPUs, beside what was forecast.


localrules:
    measure_efficiency,


rule measure_efficiency:
    input:
        # Their benchmarks, which are no outputs, are there as well.
        EVALUATIONS,
        [model(stage) for stage in TRAINED],
        config=rules.write_config.output.config,
    output:
        efficiency=f"{RESULTS}/efficiency.json",
    log:
        f"{LOGS}/measure_efficiency.log",
    conda:
        "../envs/driver.yaml"
    resources:
        **resources("measure_efficiency"),
    params:
        changes=json.dumps({"resources": config["resources"]}),
    message:
        "Comparing what was used with what was forecast"
    shell:
        "python scripts/measure_efficiency.py --config {input.config:q} --overlay {params.changes:q} "
        "--output {output.efficiency:q} > {log:q} 2>&1"
