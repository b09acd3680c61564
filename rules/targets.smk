# What can be asked for by name: stages, and what belongs together.


localrules:
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
