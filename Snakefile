# GRRM: group relative reward modelling for machine translation, end to end.

from snakemake.utils import min_version

min_version("9.1.0")


configfile: "config/config.yaml"
configfile: "config/cluster.yaml"


report: "report/workflow.rst"


include: "rules/common.smk"
include: "rules/deployment.smk"
include: "rules/environments.smk"
include: "rules/prompts.smk"
include: "rules/datasets.smk"
include: "rules/download.smk"
include: "rules/data.smk"
include: "rules/models.smk"
include: "rules/train_names.smk"
include: "rules/train.smk"
include: "rules/grrm.smk"
include: "rules/mt.smk"
include: "rules/own.smk"
include: "rules/metric_names.smk"
include: "rules/evaluate.smk"
include: "rules/reward_comparison.smk"
include: "rules/report.smk"
include: "rules/provenance.smk"
include: "rules/preflight.smk"
include: "rules/efficiency.smk"
include: "rules/optional.smk"
include: "rules/targets.smk"
include: "rules/checks.smk"


localrules:
    all,


rule all:
    default_target: True
    input:
        rules.render_report.output,
        rules.write_provenance.output,
        rules.measure_efficiency.output,
        REWARD_COMPARISON,
        ANNOTATION_PAGE if ANNOTATED else [],
