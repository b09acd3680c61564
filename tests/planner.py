"""Snakemake for tests that plan."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from forking import ForkServer

ROOT = Path(__file__).parents[1]
_server = ForkServer("import snakemake.cli")
_CODE = "import sys, snakemake.cli; snakemake.cli.main(sys.argv[1:])"


def snakemake(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """`python -m snakemake` with these arguments, in a process of its own."""
    return _server.run(sys.executable, _CODE, *arguments, cwd=cwd, environment=os.environ)
