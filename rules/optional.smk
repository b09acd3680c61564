# Parts that a configuration may leave out.

if config["alignment"] is not None:

    include: "alignment.smk"


if TEACHER is not None:

    include: "teacher_names.smk"
    include: "teacher.smk"


if "rehearsal" in config:

    include: "rehearsal_names.smk"
    include: "rehearsal.smk"


if config["judges"] is not None:

    include: "judge_names.smk"
    include: "judges.smk"
    include: "judge_evaluation.smk"

    if config["judges"]["data"]["source"] == "toy":

        include: "judge_toy.smk"

    else:

        include: "judge_downloads.smk"
