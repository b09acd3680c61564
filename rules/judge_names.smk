# Names of what the judges are made of. Look-ups only.

JUDGES = config["judges"] or {}
JUDGE_KINDS = ["pointwise", "pairwise", "bradley_terry"]
JUDGE_CURVES = [f"judge_{kind}" for kind in ("sft", *JUDGE_KINDS)]


def judge_data(name):
    return f"{RESULTS}/data/judge_{name}.jsonl"


def judge_start(kind):
    """The model that a judge's training starts from."""
    if JUDGES[kind]["start_from"]:
        return model(f"judge_{kind}_base")
    return model("judge_sft" if kind in ("pointwise", "pairwise") else "judge_base")


def judge_sources(kind):
    """Where the rows of a kind come from: the toy table, or an entry of config/datasets.yaml (or a part of it)."""
    entry, _, part = JUDGES["data"][kind].partition("/")
    return entry, "/".join(filter(None, [DOWNLOADS, entry, part]))


def judge_limits(kind):
    settings = JUDGES[kind]
    return f"{settings['max_prompt_length']} {settings['max_response_length']}"


def judge_card_options(stage):
    """What a judge can be asked: after SFT, both things that the demonstrations may show."""
    if stage == "judge_bradley_terry":
        return f"--bradley-terry-length {JUDGES['bradley_terry']['max_length']}"
    kinds = [
        kind
        for kind in ("pointwise", "pairwise")
        if stage in ("judge_sft", f"judge_{kind}")
    ]
    options = [
        f"--{kind}-prompt {JUDGES['prompts'][kind]} --{kind}-limits {judge_limits(kind)}"
        for kind in kinds
    ]
    if "pairwise" in kinds and not JUDGES["pairwise"]["both_orders"]:
        options.append("--one-order")
    return " ".join(options)


def judge_validation(kind):
    if JUDGES[kind]["validation"] is None:
        return []
    return f"{RESULTS}/prepared/judge_{kind}_test.parquet"


def judge_answers(kind):
    """Answers to the held-out rows of a kind, before its training and after."""
    return {
        name: f"{RESULTS}/evaluation/judges/{kind}/{name}.jsonl"
        for name in (Path(judge_start(kind)).name, f"judge_{kind}")
    }


def judge_targets(*paths):
    """Input of a target; without the section `judges`, an error that says how to get one."""

    def found(wildcards):
        if not JUDGES:
            raise WorkflowError(
                "this configuration has no section 'judges'; add --configfile config/judges.yaml "
                "(two CPU cores) or config/judges_paper.yaml (GPUs)"
            )
        return paths

    return found


JUDGE_SCORES = {kind: f"{RESULTS}/evaluation/judge_{kind}.json" for kind in JUDGE_KINDS}
