"""Snakemake for tests that plan."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

from forking import ForkServer

ROOT = Path(__file__).parents[1]
_server = ForkServer("import snakemake.cli")
_CODE = "import sys, snakemake.cli; snakemake.cli.main(sys.argv[1:])"


def snakemake(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """`python -m snakemake` with these arguments, in a process of its own."""
    return _server.run(sys.executable, _CODE, *arguments, cwd=cwd, environment=os.environ)


def link_workflow(folder: Path, *further: str, copied: Collection[str] = ()) -> None:
    """Make a folder a checkout of the workflow, its parts linked, or copied to be changed there."""
    for part in ("Snakefile", "rules", "config", "scripts", "envs", "report", *further):
        if part not in copied:
            (folder / part).symlink_to(ROOT / part)
        elif (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, folder / part)
        else:
            shutil.copy(ROOT / part, folder / part)
