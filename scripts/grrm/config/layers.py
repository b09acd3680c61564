"""The configuration as it is read: files laid over one another, then checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from grrm.config.data_relations import data_contradictions
from grrm.config.environment import lay_environment, lay_for_evaluation, spread_rows
from grrm.config.finetuning import lora_contradictions, spread_finetuning
from grrm.config.relations import contradictions
from grrm.config.reward_relations import reward_contradictions
from grrm.config.schema import check, load_schema, resolve
from grrm.config.teacher import teacher_contradictions
from grrm.files import UserError, read_yaml


def load_experiment(
    folder: str | Path, overlays: Iterable[str | Path] = (), changes: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The configuration as the workflow reads it, with other files laid over config/config.yaml in order.

    Args:
        folder: that of the workflow.
        overlays: files, as after --configfile.
        changes: keys laid over them, as after --config.

    Raises:
        UserError: a file is missing or not YAML; or see `resolve_experiment`.
    """
    config: dict[str, Any] = {}
    own = (Path(folder) / "config/config.yaml", Path(folder) / "config/cluster.yaml")
    for path in (*own, *overlays):
        layer = read_yaml(path)
        if not isinstance(layer, dict):
            raise UserError(f"{path}: expected keys and values, found {type(layer).__name__}")
        _lay_over(config, layer)
    _lay_over(config, changes or {})
    return resolve_experiment(config, Path(folder) / "config/schemas/config.schema.yaml")


def _lay_over(config: dict[str, Any], layer: Mapping[str, Any]) -> None:
    for key, value in layer.items():
        if isinstance(value, Mapping):
            below = config.get(key)
            config[key] = dict(below) if isinstance(below, Mapping) else {}
            _lay_over(config[key], value)
        else:
            config[key] = value


def resolve_experiment(
    config: Mapping[str, Any],
    schema_path: str | Path,
    environment: Mapping[str, str] | None = None,
    files: Iterable[str | Path] = (),
) -> dict[str, Any]:
    """As `resolve`, for an experiment: the environment is laid over it, and relations are checked as well.

    Args:
        config: as it was read.
        schema_path: the schema.
        environment: variables that go before it (`grrm.config.environment`).
        files: those that `config` was read from by another reader, which may have passed over a key that
            stands twice; they are read again.

    Raises:
        UserError: see `resolve`; a file holds what is refused (`grrm.yaml_text`); a variable cannot be used;
            or two keys contradict each other.
    """
    for path in files:
        read_yaml(path)
    schema = load_schema(schema_path)
    files = resolve(_without_published_sets(config), schema)
    for lay in (lay_for_evaluation, lay_environment):
        resolved, origins = lay(files, environment or {})
        if resolved != files:  # which have been checked
            check(resolved, schema, origins)
    spread_rows(resolved, origins, files["hardware"])
    checks = (
        contradictions,
        reward_contradictions,
        teacher_contradictions,
        data_contradictions,
        lora_contradictions,
    )
    if problems := [problem for of in checks for problem in of(resolved)]:
        raise UserError("configuration: " + "; ".join(problems))
    spread_finetuning(resolved)
    return resolved


def _without_published_sets(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """With files of one's own no published set is tested on unless it is named."""
    data = config.get("data")
    if not isinstance(data, Mapping) or data.get("source") != "files" or "test_sets" in data:
        return config
    return {**config, "data": {**data, "test_sets": {}}}
