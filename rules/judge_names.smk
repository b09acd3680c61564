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
    """Where the rows of a kind come from: the toy table, or an entry of config/datasets.yaml (or a part of it)."""
    entry, _, part = JUDGES["data"][kind].partition("/")
    return entry, "/".join(filter(None, [DOWNLOADS, entry, part]))


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
