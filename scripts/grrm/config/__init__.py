"""The workflow's configuration: files and the environment laid over one another, checked, defaults filled in.

Imported while the Snakefile is parsed, so nothing heavier than PyYAML and jsonschema is imported here.
"""

from grrm.catalogue.trainings import NEEDS, STAGES
from grrm.config.environment import kind_of_environment
from grrm.config.layers import load_experiment, resolve_experiment
from grrm.config.own_data import (
    PUBLISHED,
    TASKS,
    OwnFiles,
    held_out_share,
    own_files,
    own_judge_files,
    own_test_sets,
    published_test_sets,
    what_to_give,
)
from grrm.config.rewards import (
    alignment_prompt_of,
    compared_runs,
    function_files_of,
    grpo_runs,
    has_alignment_judge,
    is_served_apart,
    judge_taken_for,
    part_checkpoints_of,
    pieces_of,
    prompt_file,
    reward_of,
    scoring_model_of,
    translation_prompt_of,
)
from grrm.config.schema import dereference, load_schema, resolve
from grrm.config.stages import (
    compared_models,
    kept_checkpoints,
    key_of_taken,
    leakage_limits,
    planned_trainings,
    stage_environments,
    taken_models,
    trained_stages,
    value_of,
)
from grrm.config.teacher import annotation_folder, backend_of, models_here

__all__ = [
    "NEEDS",
    "PUBLISHED",
    "STAGES",
    "TASKS",
    "OwnFiles",
    "alignment_prompt_of",
    "annotation_folder",
    "backend_of",
    "compared_models",
    "compared_runs",
    "dereference",
    "function_files_of",
    "grpo_runs",
    "has_alignment_judge",
    "held_out_share",
    "is_served_apart",
    "judge_taken_for",
    "kept_checkpoints",
    "key_of_taken",
    "kind_of_environment",
    "leakage_limits",
    "load_experiment",
    "load_schema",
    "models_here",
    "own_files",
    "own_judge_files",
    "own_test_sets",
    "part_checkpoints_of",
    "pieces_of",
    "planned_trainings",
    "prompt_file",
    "published_test_sets",
    "resolve",
    "resolve_experiment",
    "reward_of",
    "scoring_model_of",
    "stage_environments",
    "taken_models",
    "trained_stages",
    "translation_prompt_of",
    "value_of",
    "what_to_give",
]
