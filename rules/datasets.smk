# Where the published data sets and models are, and which of them this experiment reads. Look-ups only.

from grrm.data.datasets import (
    find_test_sets,
    find_training_files,
    is_current,
    load_datasets,
    load_lock,
    with_models,
)
from grrm.judges.configured_prompts import tables_with_columns
from grrm.report.reference import load_reference, means

LOCK = "config/datasets.lock.yaml"
DOWNLOADS = config["data"]["downloads"]
# Tables of which not only the columns of their schema are kept.
FURTHER = tables_with_columns(config)


def further(table):
    return ["--further"] if table in FURTHER else []


try:
    DATASETS = with_models(
        load_datasets(
            "config/datasets.yaml",
            Path(workflow.basedir) / "config/schemas/datasets.schema.yaml",
        ),
        sorted(WANTED),
    )
    LOCKED = load_lock(LOCK)
    TEST_SETS = find_test_sets(DATASETS)
    TRAINING_FILES = find_training_files(DATASETS)
    REFERENCE = load_reference(
        "config/reference_results.yaml",
        Path(workflow.basedir) / "config/schemas/reference_results.schema.yaml",
    )
except UserError as error:
    raise WorkflowError(str(error))


def download_record(dataset):
    """What has to be there before a data set or model is read: it is whole and as locked."""
    return f"{DOWNLOADS}/{dataset}.json"


def downloaded(dataset, files):
    return [f"{DOWNLOADS}/{dataset}/{file}" for file in files]


def lock_of(wildcards):
    """The lock; its time matters for those only whose own lines have changed."""
    same = is_current(download_record(wildcards.dataset), LOCKED.get(wildcards.dataset))
    return ancient(LOCK) if same else LOCK


HUB_MODELS = {
    entry.hub: name for name, entry in DATASETS.items() if entry.kind == "model"
}


def model_source(reference, key):
    """Folder of a model's files, and what has to be there before they can be read; `key` names the model."""
    if reference in HUB_MODELS:
        name = HUB_MODELS[reference]
        return f"{DOWNLOADS}/{name}", download_record(name)
    if not Path(reference).is_dir():
        raise WorkflowError(
            f"key '{key}' is {reference!r}, neither a folder nor a hub id (owner/name, where owner is no folder "
            f"here); models of config/datasets.yaml are {', '.join(sorted(HUB_MODELS))}"
        )
    return reference, reference


# What is trained on, stage by stage.
TRAINING = {name: TABLES[name] for name in TRAINED or STAGES}
# What is tested on, set by set.
TESTS = {name: TABLES[name] for name in TEST_TABLES}
# Its kind (ranking, translation), where test sets are put together.
KINDS = {}
# Files of one's own: of training tables, and of test sets with what they test.
try:
    OWN_FILES = own_files(config)
    OWN_TESTS = own_test_sets(config)
except UserError as error:
    raise WorkflowError(str(error))
# Whether a teacher makes some of the tables.
ANNOTATED = any(given.key.startswith("teacher") for given in OWN_FILES.values())
# Published test sets that are read.
PUBLISHED_TESTS = []
# Kinds of which rows of one's own files are held out.
HELD_OUT = []

if config["data"]["source"] in ("hub", "files"):
    PUBLISHED_TESTS = published_test_sets(config)
    for name in PUBLISHED_TESTS:
        if name not in TEST_SETS:
            raise WorkflowError(
                f"key 'data.test_sets' names {name!r}; config/datasets.yaml has {', '.join(TEST_SETS)}"
            )
        is_ranking = TEST_SETS[name].format == "ranking"
        KINDS[name] = "ranking" if is_ranking else "translation"
    for name, (kind, _) in OWN_TESTS.items():
        if name in TEST_SETS:
            raise WorkflowError(
                f"key 'data.test_sets.{name}': a test set of config/datasets.yaml has this name; give yours another"
            )
        KINDS[name] = kind
    TESTS = {name: f"{RESULTS}/data/test_sets/{name}.parquet" for name in KINDS}

if config["data"]["source"] == "hub":
    for kind in COMPARISONS:
        if kind not in KINDS.values():
            raise WorkflowError(f"key 'data.test_sets' has no test set of kind {kind}")
        if (
            f"{kind}_test" in FURTHER
            and kind not in {task for task, _ in OWN_TESTS.values()}
            and not any(TEST_SETS[name].format == kind for name in PUBLISHED_TESTS)
        ):
            raise WorkflowError(
                f"a prompt names further columns of the {kind} test rows, but no test set in 'data.test_sets' is a "
                f"table that may have them (format: {kind} in config/datasets.yaml)"
            )

if config["data"]["source"] == "files":
    # What nothing is given for says so where it is needed.
    TRAINING = {name: path for name, path in TRAINING.items() if name in OWN_FILES}
    HELD_OUT = [
        kind
        for kind in COMPARISONS
        if kind not in KINDS.values()
        and any(training_of(name).task == kind for name in OWN_FILES)
    ]
    TESTS |= {f"{kind}_test": TABLES[f"{kind}_test"] for kind in HELD_OUT}


try:
    LEAKAGE_LIMITS = leakage_limits(
        config["data"]["max_leakage"], TRAINING, TESTS, TEST_SETS
    )
except UserError as error:
    raise WorkflowError(str(error))


def tests_of(wildcards):
    return {
        name: path for name, path in TESTS.items() if KINDS.get(name) == wildcards.kind
    }


def reading(table):
    """Options of a program that reads one's own files into a table."""
    return ["--table", table, "--bad-rows", config["data"]["bad_rows"], *further(table)]


def missing_table(wildcards):
    """Input of a table that no file is given for: an error that says what to give."""
    raise WorkflowError(what_to_give(wildcards.stage))


def averages(task):
    """Means over several test sets that were published, for --means."""
    sets = [name for name, kind in KINDS.items() if kind == task]
    return named(
        {
            name: ",".join(members)
            for name, members in means(REFERENCE, task, sets).items()
        }
    )
