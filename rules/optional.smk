# Parts that a configuration may leave out, and rules of the user's own: rules/own_<name>.smk.

if config["alignment"] is not None:

    include: "alignment.smk"


if config["judges"] is not None:

    include: "judges.smk"
    include: "judge_evaluation.smk"

    if config["judges"]["data"]["source"] == "toy":

        include: "judge_toy.smk"

    else:

        include: "judge_downloads.smk"


for path in sorted(Path(workflow.basedir).glob("rules/own_*.smk")):

    include: str(path)
