"""Build the virtual environment of a stage from its hash-locked requirements."""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from pathlib import Path

from grrm.files import UserError, sha256, write_json
from grrm.process import run_engine, run_main

# Unpacked, the training environment takes about 6 GB; uv shares the files between environments.
_NEEDED_BYTES = 8 * 10**9


def main(argv: list[str] | None = None) -> None:
    """Build the environment in place; the record of what it holds is written last."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lock", type=Path, required=True, help="hashed requirements file")
    parser.add_argument("--folder", type=Path, required=True, help="environment to build")
    parser.add_argument(
        "--output", type=Path, required=True, help="record of the finished environment (JSON)"
    )
    parser.add_argument("--uv", default=str(Path(sys.executable).with_name("uv")))
    args = parser.parse_args(argv)

    args.folder.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(args.folder.parent).free
    if free < _NEEDED_BYTES and not args.folder.exists():
        raise UserError(
            f"{args.folder.parent}: {free / 1e9:.1f} GB free, an environment may need "
            f"{_NEEDED_BYTES / 1e9:.0f} GB; free some space or set environments.folder"
        )
    python = args.folder / "bin" / "python"
    _uv(args.uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, str(args.folder))
    _uv(args.uv, "pip", "sync", "--require-hashes", "--python", str(python), str(args.lock))
    write_json(
        args.output,
        {
            "lock": args.lock.name,
            "lock_sha256": sha256(args.lock),
            "python": f"{sys.version_info.major}.{sys.version_info.minor}",
            "packages": len(re.findall(r"^[A-Za-z0-9]", args.lock.read_text(encoding="utf-8"), re.M)),
        },
    )


def _uv(uv: str, *arguments: str) -> None:
    if run_engine([uv, *arguments]) != 0:
        raise UserError(
            f"uv {arguments[0]} failed, the reason stands above; with a network problem, "
            "run the same command again: what was downloaded is kept"
        )


if __name__ == "__main__":
    run_main(main)
