"""Snakemake for tests that plan."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from forking import ForkServer

ROOT = Path(__file__).parents[1]
# What every plan imports, and what its command line is read by; nothing of this project, so that a checkout
# that a test has changed is planned by its own code. It takes half of the time of a plan.
_server = ForkServer(
    "import difflib, graphlib, jsonschema, language_data, langcodes, packaging.version, psutil, requests;"
    "import smart_open, yaml, snakemake.cli, snakemake.dag, snakemake.report, snakemake.storage;"
    "import snakemake.scheduling.job_scheduler; snakemake.cli.get_argument_parser()\n"
    f"import sys; sys.path.append({str(Path(__file__).parent)!r}); import parsed_once; sys.path.pop()"
)
_CODE = "import sys, snakemake.cli; snakemake.cli.main(sys.argv[1:])"


def snakemake(
    *arguments: str, cwd: Path = ROOT, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """`python -m snakemake` with these arguments, in a process of its own, with `environment` over ours."""
    return _server.run(
        sys.executable, _CODE, *arguments, cwd=cwd, environment={**os.environ, **(environment or {})}
    )
