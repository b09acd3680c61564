"""The configuration as it is read: files laid over one another, then checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from grrm.config.environment import apply_environment, with_environment
from grrm.config.relations import contradictions, reward_contradictions
from grrm.config.schema import resolve
from grrm.files import UserError, parse_yaml


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
        try:
            layer = parse_yaml(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from error
        except yaml.YAMLError as error:
            raise UserError(f"{path}: not valid YAML ({error})") from error
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
    config: Mapping[str, Any], schema_path: str | Path, environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """As `resolve`, for an experiment: relations between keys are checked as well.

    Args:
        config: as it was read.
        schema_path: the schema.
        environment: variables that go before it (`with_environment`, and about judges that reward
            `apply_environment`).

    Raises:
        UserError: see `resolve`; a variable cannot be used; or two keys contradict each other.
    """
    resolved = with_environment(resolve(config, schema_path), environment or {})
    apply_environment(resolved, environment or {})
    if problems := [*contradictions(resolved), *reward_contradictions(resolved)]:
        raise UserError("configuration: " + "; ".join(problems))
    return resolved
