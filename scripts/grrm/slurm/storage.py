"""A temporary folder with a short path, on storage whose own path may be long."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path


def make_folder(folder: Path, storage: Path) -> None:
    """Make `folder`; elsewhere than in `storage` it is a link to a folder of the same name there.

    Raises:
        FileExistsError: it is there.
    """
    if folder.parent == storage:
        folder.mkdir(mode=0o700)
        return
    target = storage.absolute() / folder.name
    folder.symlink_to(target)
    remove_folder(target)  # of a killed run
    target.mkdir(mode=0o700)


def remove_folder(folder: Path) -> None:
    """Remove what `make_folder` made; nothing if it is not there."""
    target = folder.readlink() if folder.is_symlink() else folder
    shutil.rmtree(target, ignore_errors=True)
    with contextlib.suppress(OSError):
        folder.unlink(missing_ok=True)
