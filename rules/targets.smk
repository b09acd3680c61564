# What can be asked for by name: stages, and what belongs together.


localrules:
    environments,
    data,
    alignment_grpo,
    reward_kinds,
    evaluate,
    report,
    judges,


def alignment_target(wildcards):
    if config["alignment"] is None:
        raise WorkflowError(
            "key 'alignment' is not set; snakemake --cores 2 alignment_grpo --configfile config/judges.yaml is the "
            "demonstration"
        )
    # With the configuration, in which variables of the environment are recorded.
    return [ALIGNMENT_SUMMARY, rules.write_config.output.config]


def reward_kinds_target(wildcards):
    if not config["reward_comparison"]:
        raise WorkflowError(
            "key 'reward_comparison' is empty; name the kinds of reward to compare, such as [bleu, chrf]"
        )
    return REWARD_KINDS


def judge_targets(*paths):
    """Input of a target; without the section `judges`, an error that says how to get one."""

    def found(wildcards):
        if config["judges"] is None:
            raise WorkflowError(
                "this configuration has no section 'judges'; add --configfile config/judges.yaml "
                "(two CPU cores) or config/judges_paper.yaml (GPUs)"
            )
        return paths

    return found


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
