"""The working folder of a training: whose it is, whether it may be resumed, and what it leaves behind.

A checkpoint is resumed only by the training that made it: the same rendered configuration, the same data, the
same initial model. What that was is written beside the checkpoints (`training.json`) and travels with the
finished model, so that a stage trained on another one notices when that one was trained anew.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from grrm.content import file_hash, files_hash
from grrm.engines import model_card
from grrm.files import (
    UserError,
    atomic_path,
    read_json,
    read_yaml,
    remove_leftovers,
    remove_tree,
    write_json,
    write_text,
)
from grrm.model_folder import check_model_files, files_of, torn_files

IDENTITY = "training.json"
# In IDENTITY: what the model's files held when it was written: then only are they of that training.
_CONTENT = "content"
# Written beside a model later, and no part of it.
_BESIDE = {IDENTITY, model_card.FILE, ".snakemake_timestamp"}
_FINISHED = "finished"


def identity(config: Path, inputs: Iterable[Path], ignored: Iterable[str] = ()) -> dict[str, Any]:
    """What makes a training the same training: its configuration and the content of its inputs.

    Args:
        config: the rendered configuration of the engine (YAML).
        inputs: data files and model folders the training reads.
        ignored: keys that may change from one launch to the next.

    Raises:
        UserError: an input is missing.
    """
    rendered = read_yaml(config)
    return {
        "config": {key: value for key, value in rendered.items() if key not in set(ignored)},
        "inputs": {str(path): fingerprint(path) for path in inputs},
    }


def claim(folder: Path, training: Mapping[str, Any]) -> None:
    """Make `folder` the working folder of `training`, keeping its checkpoints if they are its own.

    The folder of another training that was finished is moved aside; nothing is deleted.

    Raises:
        UserError: the folder holds the checkpoints of another, unfinished training.
    """
    marker = folder / IDENTITY
    remove_leftovers(marker)
    if not folder.exists() or not any(folder.iterdir()):
        folder.mkdir(parents=True, exist_ok=True)
        write_json(marker, training)
        return
    if not marker.exists():
        raise UserError(
            f"{folder}: not empty, and no {IDENTITY} says which training its files belong to; "
            "move the folder away to start over"
        )
    earlier = read_json(marker)
    if earlier == training:
        return
    if (folder / _FINISHED).exists():
        aside = folder.with_name(f"{folder.name}.{_hash(earlier)[:8]}")
        if aside.exists():
            remove_tree(aside)
        folder.rename(aside)
        print(f"{folder}: the finished training of another configuration is now {aside}", flush=True)
        claim(folder, training)
        return
    raise UserError(
        f"{folder}: holds checkpoints of an unfinished training that differs in "
        f"{'; '.join(_differences(earlier, training))}. Go back to the earlier values to resume it, "
        "or move the folder away to start over"
    )


def is_finished(folder: Path) -> bool:
    """Whether the training in `folder` came to its end (its model may still have to be published)."""
    return (folder / _FINISHED).exists()


def mark_finished(folder: Path) -> None:
    """Remember that the training in `folder` came to its end."""
    (folder / _FINISHED).touch()


def publish(files: Iterable[Path], model: Path, training: Mapping[str, Any]) -> None:
    """Write the finished model folder whole: copies of `files`, what the training was, and the model's card.

    Call it with the lock of the training's working folder held: what a killed call left beside is removed.

    Raises:
        UserError: there is no weights file, configuration or tokenizer among the files.
    """
    files = list(files)
    check_model_files({file.name for file in files}, model)
    remove_leftovers(model)
    with atomic_path(model) as partial:
        partial.mkdir()
        for file in files:
            shutil.copy2(file, partial / file.name)
        write_identity(partial, training)
        write_text(partial / model_card.FILE, card(model.name, training))


def write_identity(model: Path, training: Mapping[str, Any]) -> None:
    """Write what made a model into its folder, whole but for this, with the hash of what it holds."""
    write_json(model / IDENTITY, {**training, _CONTENT: _content(model)})


def _content(model: Path) -> str:
    return files_hash({name: file for name, file in files_of(model).items() if name not in _BESIDE})


def card(name: str, training: Mapping[str, Any], metrics: Iterable[model_card.Metric] = ()) -> str:
    """The card of a model, with the trainings of the models it started from as far as they are still here."""
    ancestors: list[Mapping[str, Any]] = []
    folders: list[Path] = []
    step: Mapping[str, Any] | None = training
    while step is not None and (start := model_card.initial_model(step)) is not None:
        folders.append(Path(start))
        step = read_json(folders[-1] / IDENTITY) if (folders[-1] / IDENTITY).is_file() else None
        if step is not None:
            ancestors.append(step)
    licence = model_card.read_licence(folders[-1]) if folders else None
    return model_card.model_card(name, training, ancestors, licence=licence, metrics=tuple(metrics))


def remove_unusable(working: Path) -> None:
    """Remove what Hugging Face's trainer cannot go on from in the folder of an unfinished training.

    The checkpoints that a kill left half-written (it writes its state last), and that of the last step: from
    there transformers 5.5 takes one step more than it should. And the weights of an end that was not reached
    whole: without a checkpoint LLaMA-Factory refuses a folder that holds some.
    """
    for folder in working.glob("checkpoint-*"):
        state = None if torn_files(folder) else _trainer_state(folder)
        if state is None or state["global_step"] >= state["max_steps"]:
            print(f"{folder}: {'incomplete' if state is None else 'of the last step'}, removed", flush=True)
            shutil.rmtree(folder)
    for pattern in ("*.safetensors*", "pytorch_model*.bin*", "adapter_model*.bin"):
        for weights in working.glob(pattern):
            print(f"{weights}: of an end that was interrupted, removed", flush=True)
            weights.unlink()


def _trainer_state(folder: Path) -> dict[str, Any] | None:
    """The state that Hugging Face's trainer left in a checkpoint; None if there is no whole one."""
    try:
        state: dict[str, Any] = json.loads((folder / "trainer_state.json").read_bytes())
    except (FileNotFoundError, ValueError):  # cut off, even within a character
        return None
    return state


def last_step(working: Path) -> int:
    """The step of the last whole checkpoint of Hugging Face's trainer; 0 without any."""
    states = map(_trainer_state, working.glob("checkpoint-*"))
    return max((int(state["global_step"]) for state in states if state), default=0)


def saves(settings: Mapping[str, Any]) -> int | None:
    """How many checkpoints Hugging Face's trainer writes, the last at its end; None if epochs are counted."""
    steps = settings.get("max_steps")
    return None if steps is None else -(-steps // settings["save_steps"])


def model_files(working: Path) -> list[Path]:
    """What Hugging Face's trainer wrote at its end: weights, configuration, tokenizer."""
    names = ("*.safetensors", "*.safetensors.index.json", "config.json", "generation_config.json")
    return sorted({*tokenizer_files(working), *(file for name in names for file in working.glob(name))})


def tokenizer_files(folder: Path) -> list[Path]:
    """What transformers saved of a tokenizer."""
    names = (
        "tokenizer*",
        "vocab.json",
        "merges.txt",
        "special_tokens_map.json",
        "added_tokens.json",
        "chat_template.jinja",
    )
    return sorted({file for name in names for file in folder.glob(name)})


def fingerprint(path: Path) -> str:
    """What changes when a file or a model folder becomes another.

    Raises:
        UserError: there is no such file or folder.
    """
    if path.is_file():
        return file_hash(path)
    if not path.is_dir():
        raise UserError(f"{path}: no such file or folder")
    own = path / IDENTITY
    if not own.exists():
        return files_hash(files_of(path))
    training = read_json(own)
    content = training.pop(_CONTENT, None)
    # Folders of version 0.1 do not say what they held.
    if content is None or content == _content(path):
        return _hash(training)
    return _hash([training, _content(path)])


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    before, after = _flat(old), _flat(new)
    changed = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    words = []
    for key in changed[:5]:
        section, _, name = key.partition(".")
        if section == "inputs":
            words.append(f"the content of {name}")
        else:
            words.append(f"{name} ({before.get(key)!r}, now {after.get(key)!r})")
    if len(changed) > 5:
        words.append(f"{len(changed) - 5} more values")
    return words


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, part in value.items():
        if isinstance(part, Mapping):
            flat.update(_flat(part, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = part
    return flat
