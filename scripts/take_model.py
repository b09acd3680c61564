"""Take a model from elsewhere as one of the experiment's."""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path

from grrm.content import files_hash
from grrm.engines import checkpoints
from grrm.files import UserError, atomic_path
from grrm.model_folder import COMET, check_model
from grrm.process import run_main

_WEIGHTS = (".safetensors", ".bin")


def main(argv: list[str] | None = None) -> None:
    """Write the model folder, whole; its files are linked where the file system allows it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, required=True, help="folder of the model")
    parser.add_argument("--reference", required=True, help="what the configuration calls it")
    parser.add_argument(
        "--metric", action="store_true", help="it is that of a metric: COMET, or configuration and weights"
    )
    parser.add_argument("--encoder", type=Path, help="configuration and tokenizer of a COMET encoder")
    parser.add_argument("--tokenizer", type=Path, help="tokenizer of a metric that comes without one")
    parser.add_argument("--output", type=Path, required=True, help="model folder to write")
    args = parser.parse_args(argv)

    if (args.source / COMET[0]).exists():
        files = _files(args.source, COMET)
        own = args.source / "encoder"  # of a checkpoint that was trained or taken here
        if args.encoder is None and own.is_dir():
            args.encoder = own
    else:
        _check(args.source, args.metric)
        files = _listed(args.source)
    for name, folder in (("encoder", args.encoder), ("tokenizer", args.tokenizer)):
        if folder:
            files |= {f"{name}/{file}": path for file, path in _listed(folder).items()}
    origin = {"taken": args.reference, "inputs": {args.reference: files_hash(files)}}
    with atomic_path(args.output) as partial:
        for name, file in files.items():
            _link(file, partial / name)
        (partial / checkpoints.IDENTITY).unlink(missing_ok=True)
        checkpoints.write_identity(partial, origin)
    print(f"{args.output}: {len(files)} files of {args.reference}")


def _files(folder: Path, names: tuple[str, ...]) -> dict[str, Path]:
    files = {name: folder / name for name in names}
    if missing := [name for name, file in files.items() if not file.is_file()]:
        raise UserError(f"{folder}: not a complete COMET checkpoint, it lacks {', '.join(missing)}")
    return files


def _check(folder: Path, metric: bool) -> None:
    if not metric:
        check_model(folder)
    elif not (folder / "config.json").is_file() or not any(
        file.suffix in _WEIGHTS for file in folder.iterdir()
    ):
        raise UserError(
            f"{folder}: not a metric's model: neither hparams.yaml (COMET) nor config.json and weights "
            f"({', '.join(_WEIGHTS)})"
        )


def _listed(folder: Path) -> dict[str, Path]:
    return {file.name: file for file in sorted(folder.iterdir()) if file.is_file()}


def _link(file: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    real = file.resolve()
    try:
        os.link(real, target)
    except OSError:
        shutil.copy2(real, target)


if __name__ == "__main__":
    run_main(main)
