# Whom a teacher's experiment asks, and where its answers are kept. Look-ups only.

# No output: what was answered is not asked again, whatever is made anew.
JOURNAL = f"{ANNOTATION}/journal"
# What groups are made of.
TEACHER_PAIRS = (
    f"{RESULTS}/data/files/mt_grpo.parquet" if HELD_OUT else TABLES["mt_grpo"]
)


def here(section):
    """Whether a model runs in the rule's own environment, not behind an endpoint."""
    return section["url"] is None


def asked(section, key):
    """A section with the folder of its model."""
    if not here(section):
        return section
    return {**section, "model": model_source(section["model"], key)[0]}


def weights(section, key):
    """What has to be there before a model can be asked."""
    return [model_source(section["model"], key)[1]] if here(section) else []


def without(section, *keys):
    return {key: value for key, value in section.items() if key not in keys}


CANDIDATES = TEACHER["candidates"]
MODELS_OF_CANDIDATES = {
    f"teacher.candidates.models.{i}.model": section
    for i, section in enumerate(CANDIDATES["models"])
}
CANDIDATES_HERE = any(map(here, CANDIDATES["models"]))
# Whether COMET has the last word about translations.
SCREENED = (
    bool(TEACHER["translations"]) and TEACHER["translations"]["comet"] is not None
)
TRANSLATIONS_ASKED = "translations_unscored" if SCREENED else "translations"
# Environments of those who ask: the driver's can ask endpoints only.
PROPOSING = RL if CANDIDATES_HERE else "driver"
TEACHING = RL if here(TEACHER) else "driver"
RANKING_PROMPT = TEACHER["prompt"] or prompt("ranking")
