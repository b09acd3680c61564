# GRRM: group relative reward modelling for machine translation, end to end.

from snakemake.utils import min_version

min_version("9.1.0")


configfile: "config/config.yaml"
configfile: "config/cluster.yaml"


report: "report/workflow.rst"


include: "rules/common.smk"
include: "rules/environments.smk"
include: "rules/prompts.smk"
include: "rules/datasets.smk"
include: "rules/download.smk"
include: "rules/data.smk"
include: "rules/models.smk"
include: "rules/grrm.smk"
include: "rules/mt.smk"
include: "rules/alignment.smk"
include: "rules/evaluate.smk"
include: "rules/reward_comparison.smk"
include: "rules/report.smk"
include: "rules/judge_names.smk"
include: "rules/judges.smk"
include: "rules/provenance.smk"
include: "rules/preflight.smk"
include: "rules/efficiency.smk"


localrules:
    all,
    environments,
    data,
    grrm_sft,
    grrm_rlvr,
    mt_sft,
    mt_grpo,
    alignment_grpo,
    reward_kinds,
    evaluate,
    report,
    judge_sft,
    judge_pointwise,
    judge_pairwise,
    judge_bradley_terry,
    judges,


rule all:
    default_target: True
    input:
        rules.render_report.output,
        rules.write_provenance.output,
        rules.measure_efficiency.output,
        REWARD_COMPARISON,


rule environments:
    input:
        expand(environment_record("{name}"), name=sorted({SFT, RL, "comet"})),


rule data:
    input:
        TABLES.values(),
        rules.check_leakage.output,


rule grrm_sft:
    input:
        model("grrm_sft"),


rule grrm_rlvr:
    input:
        model("grrm_rlvr"),


rule mt_sft:
    input:
        model("mt_sft"),


rule mt_grpo:
    input:
        model("mt_grpo"),


rule alignment_grpo:
    input:
        alignment_target,


rule reward_kinds:
    input:
        reward_kinds_target,


rule evaluate:
    input:
        EVALUATIONS,


rule report:
    input:
        rules.render_report.output,


rule judge_sft:
    input:
        judge_targets(model("judge_sft")),


rule judge_pointwise:
    input:
        judge_targets(model("judge_pointwise")),


rule judge_pairwise:
    input:
        judge_targets(model("judge_pairwise")),


rule judge_bradley_terry:
    input:
        judge_targets(model("judge_bradley_terry")),


rule judges:
    input:
        judge_targets(
            f"{RESULTS}/report/judges.html",
            f"{RESULTS}/provenance_judges",
            *expand(f"{RESULTS}/report/curves_{{stage}}.svg", stage=JUDGE_CURVES),
            *([ALIGNMENT_SUMMARY] if config["alignment"] else []),
        ),
