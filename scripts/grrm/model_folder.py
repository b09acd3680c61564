"""What a folder must hold to be a model, and how large the model is."""

from __future__ import annotations

import json
import math
import re
import zipfile
from pathlib import Path
from typing import Any

from grrm.files import UserError, read_json

COMET = ("hparams.yaml", "checkpoints/model.ckpt")
"""Files of a COMET checkpoint; with the first of them a folder is one."""
_IN_A_BLOCK = re.compile(r"\.\d+\.(.+\.)?weight$")  # model.layers.0.mlp.up_proj.weight

_TENSORS = {".safetensors", ".pt", ".pth", ".bin"}


def files_of(folder: Path) -> dict[str, Path]:
    """Files that make a model, by their names in its folder: those in it, and COMET's weights below it."""
    files = {file.name: file for file in sorted(folder.iterdir()) if file.is_file()}
    # What else is below a folder of Hugging Face (older checkpoints, logs) is not loaded with it.
    below = [folder / name for name in COMET[1:] if COMET[0] in files and (folder / name).is_file()]
    for part in ("encoder", "tokenizer"):
        below += [file for file in sorted((folder / part).glob("*")) if file.is_file()]
    return files | {str(file.relative_to(folder)): file for file in below}


def check_model(folder: Path) -> None:
    """Raise UserError unless `folder` is a Hugging Face model with tokenizer."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such model folder")
    check_model_files({file.name for file in folder.iterdir()}, folder)


def check_model_files(names: set[str], folder: Path) -> None:
    """Raise UserError unless `names` are the files of a Hugging Face model with tokenizer."""
    needs = {
        "config.json": {"config.json"},
        "weights (*.safetensors)": {name for name in names if name.endswith(".safetensors")},
        "a tokenizer (tokenizer.json or vocabulary)": {"tokenizer.json", "tokenizer.model", "vocab.json"},
    }
    missing = [what for what, any_of in needs.items() if not any_of & names]
    if missing:
        raise UserError(f"{folder}: not a complete model folder, it lacks {', '.join(missing)}")


def configuration(model: Path) -> dict[str, Any]:
    """What a model folder's config.json says.

    Raises:
        UserError: it is missing, or holds no object.
    """
    found = read_json(model / "config.json", any_size=True, gaps=True)
    if not isinstance(found, dict):
        raise UserError(f"{model}/config.json: {type(found).__name__}, expected the object of a model")
    return found


def parameters(model: Path) -> int:
    """Number of parameters of a model folder, from the headers of its safetensors files."""
    return sum(
        math.prod(tensor["shape"])
        for file in model.glob("*.safetensors")
        for tensor in _tensors(file).values()
    )


def linear_layers(model: Path) -> dict[str, tuple[int, int]]:
    """Matrices within the blocks of a model folder: name of the layer -> (outputs, inputs).

    Embeddings and the output layer, which stand beside the blocks, are none of them.
    """
    return {
        name.removesuffix(".weight"): (tensor["shape"][0], tensor["shape"][1])
        for file in sorted(model.glob("*.safetensors"))
        for name, tensor in _tensors(file).items()
        if _IN_A_BLOCK.search(name) and len(tensor["shape"]) == 2
    }


def torn_files(folder: Path) -> list[Path]:
    """Files of tensors in a folder or below it that are not there to their end."""
    return sorted(
        file for file in folder.rglob("*") if file.suffix in _TENSORS and file.is_file() and _is_torn(file)
    )


def _is_torn(file: Path) -> bool:
    with file.open("rb") as stream:
        start = stream.read(2)
        if not start:
            return True
        if (
            file.suffix != ".safetensors"
        ):  # an archive ends with its directory; torch's older files say nothing
            return start == b"PK" and not zipfile.is_zipfile(stream)
    try:
        return file.stat().st_size < _head(file)[1]
    except ValueError:
        return True


def _tensors(file: Path) -> dict[str, dict[str, list[int]]]:
    """What a safetensors file says of each tensor.

    Raises:
        UserError: it is none.
    """
    try:
        return _head(file)[0]
    except ValueError as error:
        with file.open("rb") as stream:
            pointer = stream.read(8) == b"version "
        said = "but a pointer of Git LFS: run git lfs pull" if pointer else "or a damaged one: fetch it again"
        raise UserError(f"{file}: no safetensors file, {said}") from error


def _head(file: Path) -> tuple[dict[str, dict[str, list[int]]], int]:
    """Shape and place of each tensor of a safetensors file, and how many bytes the whole file has.

    Raises:
        ValueError: its beginning is not that of such a file.
    """
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > file.stat().st_size:  # of other files these bytes are no number
            raise ValueError(f"a head of {length} bytes")
        found = json.loads(stream.read(length))
    try:
        tensors = {name: tensor for name, tensor in found.items() if name != "__metadata__"}
        places = [(tensor["shape"], tensor["data_offsets"]) for tensor in tensors.values()]
        end = max((int(offsets[1]) for _, offsets in places), default=0)
    except (TypeError, LookupError, AttributeError) as error:
        raise ValueError("a head without shapes and places") from error
    return tensors, 8 + length + end
