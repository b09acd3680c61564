# Names of what the judges are made of. Look-ups only.

JUDGES = config["judges"]
# What their trainings after SFT make of them, and those of verl.
JUDGE_KINDS = [
    training.name.removeprefix("judge_")
    for training in of_part("judges")
    if training.engine != "sft"
]
VERIFIED_KINDS = [
    kind for kind in JUDGE_KINDS if training_of(f"judge_{kind}").validation
]
JUDGE_SCORES = {kind: f"{RESULTS}/evaluation/judge_{kind}.json" for kind in JUDGE_KINDS}


def judge_data(name):
    return f"{RESULTS}/data/judge_{name}.jsonl"


def judge_sources(kind):
    """What has to be there before the rows of a kind are read, and what is read."""
    source, given = JUDGES["data"]["source"], JUDGES["data"][kind]
    if source == "toy":
        return judge_data(kind), judge_data(kind)
    if source == "files":
        try:
            files = list(own_judge_files(config, kind).files)
        except UserError as error:
            raise WorkflowError(str(error))
        return files, files
    entry, _, part = str(given).partition("/")
    if entry not in DATASETS:
        known = [
            name
            for name, entry in DATASETS.items()
            if entry.kind == "dataset" and "judge_training" in entry.settings["used_by"]
        ]
        raise WorkflowError(
            f"key 'judges.data.{kind}' is {shown(given)}, expected an entry of config/datasets.yaml such as "
            f"{', '.join(known)}, or an entry/folder or entry/file of it; judges.data.source: files takes your "
            "own files"
        )
    return download_record(entry), "/".join(filter(None, [DOWNLOADS, entry, part]))


def own_judge_rows(wildcards):
    """The user's own files that judges are trained on, of all kinds that are given."""
    if JUDGES["data"]["source"] != "files":
        return []
    given = [kind for kind in ["sft", *JUDGE_KINDS] if JUDGES["data"][kind] is not None]
    return sorted({file for kind in given for file in judge_sources(kind)[0]})


def missing_judge_base(wildcards):
    """Input of the model that judges start from where none is named: an error that says what to give."""
    starts = [
        f"key 'judges.{kind}.start_from'"
        for kind in ["sft", *JUDGE_KINDS]
        if start_of(f"judge_{kind}") == model("judge_base")
    ]
    raise WorkflowError(
        f"{' and '.join(starts)}: null, expected a folder or hub id of a model with judges.data.source "
        f"{JUDGES['data']['source']!r}: the tiny base model is made of toy data only; a judge with a start_from of "
        "its own needs no SFT"
    )


def judge_limits(kind):
    settings = JUDGES[kind]
    return [settings["max_prompt_length"], settings["max_response_length"]]


def judge_card_options(stage):
    """What a judge can be asked: after SFT, both things that the demonstrations may show."""
    if stage == "judge_bradley_terry":
        return option("--bradley-terry-length", JUDGES["bradley_terry"]["max_length"])
    kinds = [
        kind
        for kind in ("pointwise", "pairwise")
        if stage in ("judge_sft", f"judge_{kind}")
    ]
    options = [
        word
        for kind in kinds
        for word in [
            *option(f"--{kind}-prompt", JUDGES["prompts"][kind]),
            *option(f"--{kind}-limits", judge_limits(kind)),
        ]
    ]
    if "pairwise" in kinds and not JUDGES["pairwise"]["both_orders"]:
        options.append("--one-order")
    return options


def judge_validation(kind):
    if JUDGES[kind]["validation"] is None:
        return []
    return validation_rows(f"judge_{kind}")


def judge_answers(kind):
    """Answers to the held-out rows of a kind, before its training and after."""
    return {
        name: f"{RESULTS}/evaluation/judges/{kind}/{name}.jsonl"
        for name in (Path(start_of(f"judge_{kind}")).name, f"judge_{kind}")
    }
