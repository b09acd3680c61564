# What can be asked for by name: stages, and what belongs together.


localrules:
    environments,
    data,
    alignment_grpo,
    reward_kinds,
    judge_comparison,
    annotation,
    evaluate,
    report,
    judges,
    rehearse,


for training in of_part(""):

    rule:
        name:
            training.target_name
        input:
            model(training.name),
        localrule: True


for training in of_part("judges"):

    rule:
        name:
            training.target_name
        input:
            judge_targets(model(training.name)),
        localrule: True


rule environments:
    input:
        expand(environment_record("{name}"), name=sorted({SFT, RL, "comet"})),


rule data:
    input:
        TABLES.values(),
        rules.check_leakage.output,


rule alignment_grpo:
    input:
        alignment_target,


rule reward_kinds:
    input:
        reward_kinds_target,


rule judge_comparison:
    input:
        judge_comparison_target,


rule annotation:
    input:
        annotation_target,


rule rehearse:
    input:
        rehearsal_target,


rule evaluate:
    input:
        EVALUATIONS,


rule report:
    input:
        rules.render_report.output,


rule judges:
    input:
        judge_targets(
            f"{RESULTS}/report/judges.html",
            f"{RESULTS}/provenance_judges",
            *(
                f"{RESULTS}/report/curves_{training.name}.svg"
                for training in of_part("judges")
            ),
            *([ALIGNMENT_SUMMARY] if config["alignment"] else []),
        ),
