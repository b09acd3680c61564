# What a rehearsal trains, from which models, and where it lies. Look-ups only.

REHEARSAL = f"{RESULTS}/rehearsal"
try:
    REHEARSED = {row.name: row for row in rehearsed(config)}
except UserError as error:
    raise WorkflowError(str(error))


def is_finished(name):
    """Whether the experiment has made a model. Not an input: nothing is trained for a rehearsal."""
    card = Path(model(name), "training.json")
    return card.is_file() and "taken" not in read_json(card)


# The models that each training starts from and is judged by.
STARTS = {
    name: start_at_hand(config, row, is_finished) for name, row in REHEARSED.items()
}
REHEARSAL_JUDGES = {
    name: judge_at_hand(config, row, is_finished) for name, row in REHEARSED.items()
}


def rehearsed_by(rule):
    """Trainings that a rule rehearses, as a wildcard's constraint."""
    engines = REHEARSING[rule]
    names = [name for name, row in REHEARSED.items() if row.engine in engines]
    return "|".join(names) or NO_RUN


def source_at_hand(hand):
    """Folder of a model, and what has to be there before it can be read."""
    if hand.kind == "released":
        return model_source(hand.model, "rehearsal.released")
    folder = model(hand.model)
    return folder, ([] if hand.kind == "finished" else folder)


def models_at_hand(name):
    """Input of a rehearsal: models that are taken or downloaded, base models, and other scorers."""
    hands = [STARTS[name], REHEARSAL_JUDGES[name]]
    reward = value_of(config, f"{REHEARSED[name].section}.reward")
    parts = part_checkpoints_of(reward).values() if reward is not None else []
    needed = [source_at_hand(hand)[1] for hand in hands if hand is not None]
    return [*filter(None, needed), *map(model, parts)]


def rehearsal_options(name):
    """Options of scripts/rehearse.py, and behind -- those of the program that trains."""
    row = REHEARSED[name]
    hands = {"start": STARTS[name], "judge": REHEARSAL_JUDGES[name]}
    options = [
        word
        for what, hand in hands.items()
        if hand is not None
        for word in (
            f"--{what}",
            hand.kind,
            TAKEN.get(hand.model, hand.model),
            source_at_hand(hand)[0],
        )
    ]
    further = {
        "sft": [*devices(), *too_long(config["data"])],
        "bt": option("--card", f"{RESULTS}/configs/{name}/judge.json"),
        "rl": (
            ["--ray-from-environment"]
            if row.part
            else option("--fork", FORK and config["fork"]["checkout"])
        ),
    }[row.engine]
    return [*options, "--", *further]


def report_of_what_there_is():
    """The report, though some of it failed, or never began."""
    if any(job.rule.name == "report_rehearsal" for job in workflow.dag.needrun_jobs()):
        words = ["--folder", REHEARSAL, "--output", f"{RESULTS}/rehearsal.md"]
        subprocess.run(
            [sys.executable, "scripts/report_rehearsal.py", "--config", "-", *words],
            input=json.dumps(config),
            text=True,
        )


AFTER_ERRORS.append(report_of_what_there_is)
