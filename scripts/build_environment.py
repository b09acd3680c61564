"""Build the virtual environment of a stage from its hash-locked requirements."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from grrm.files import UserError, sha256, write_json
from grrm.process import run_engine, run_main

# Unpacked, the training environment takes about 6 GB; uv shares the files between environments.
_NEEDED_BYTES = 8 * 10**9
# Not in the locks: PyPI has its source only, and what it compiles fits one torch and one CUDA.
_FLASH_ATTN = "flash-attn==2.8.3"  # the version that verl 0.9.1 names
_FLASH_ATTN_SHA256 = "1e71dd64a9e0280e0447b8a0c2541bad4bf6ac65bdeaa2f90e51a9e57de0370d"
# DeepSpeed's source would otherwise compile kernels for the machine that builds; ZeRO with torch's own
# AdamW needs none.
_BUILD = {"DS_BUILD_OPS": "0"}


def main(argv: list[str] | None = None) -> None:
    """Build the environment in place; the record of what it holds is written last."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lock", type=Path, required=True, help="hashed requirements file")
    parser.add_argument("--folder", type=Path, required=True, help="environment to build")
    parser.add_argument(
        "--output", type=Path, required=True, help="record of the finished environment (JSON)"
    )
    parser.add_argument(
        "--flash-attn",
        metavar="WHEEL",
        help="also install flash-attn from this wheel (path or address), or compile it: build (needs nvcc)",
    )
    parser.add_argument(
        "--extra", nargs="+", default=[], metavar="REQUIREMENT", help="packages beside those of the lock"
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
    wheel = args.flash_attn if args.flash_attn != "build" else None
    if wheel and not urlsplit(wheel).scheme and not Path(wheel).is_file():
        raise UserError(f"{wheel}: no such wheel; it is the key environments.flash_attn")
    with _in_turn(args.folder.parent):
        record = _build(args, wheel)
    write_json(args.output, record)


@contextlib.contextmanager
def _in_turn(folder: Path) -> Iterator[None]:
    """One environment at a time: two at once would both download what uv can share between them."""
    with (folder / ".building").open("w") as file:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(args: argparse.Namespace, wheel: str | None) -> dict[str, Any]:
    """Create the environment and install its packages; what there is to record."""
    python = args.folder / "bin" / "python"
    _uv(args.uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, str(args.folder))
    # Bytecode once, here: every process of a run would else compile the same modules anew.
    _uv(
        *(args.uv, "pip", "sync", "--require-hashes", "--compile-bytecode"),
        *("--python", str(python), str(args.lock)),
    )
    record: dict[str, Any] = {
        "lock": args.lock.name,
        "lock_sha256": sha256(args.lock),
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        "packages": len(re.findall(r"^[A-Za-z0-9]", args.lock.read_text(encoding="utf-8"), re.M)),
    }
    if deepspeed := re.search(r"^deepspeed==(\S+)", args.lock.read_text(encoding="utf-8"), re.M):
        record["deepspeed"] = {"version": deepspeed[1], "kernels": "none built in; compiled if ever used"}
    if args.flash_attn:
        record["flash_attn"] = install_flash_attn(args.uv, python, wheel)
    if args.extra:
        # What is locked stays as it is: a package that needs other versions is an error.
        constraints = ["--constraints", str(args.lock)]
        _uv(args.uv, "pip", "install", "--python", str(python), *constraints, *args.extra)
        record["extra"] = args.extra
    return record


def install_flash_attn(uv: str, python: Path, wheel: str | None) -> dict[str, Any]:
    """Install flash-attn, and say how it went: trainings go on without it, with attention sdpa.

    Args:
        uv: its program.
        python: interpreter of the environment, which holds torch already.
        wheel: path or address; None compiles it.

    Returns:
        `from` (the wheel, or build) and `version`; that is None if it cannot be used, and `reason` says why.
    """
    source = wheel or "build"
    reason = "uv could not install it, its reason stands in the log"
    if _install(uv, python, wheel) == 0:
        printed: list[str] = []
        command = [str(python), "-c", "import flash_attn; print(flash_attn.__version__)"]
        if run_engine(command, on_line=printed.append) == 0:
            return {"from": source, "version": printed[-1]}
        reason = "it cannot be imported: it fits another torch, CUDA or Python"
    print(f"flash-attn from {source}: {reason}; trainings will use attention sdpa", flush=True)
    return {"from": source, "version": None, "reason": reason}


def _install(uv: str, python: Path, wheel: str | None) -> int:
    command = [uv, "pip", "install", "--python", str(python), "--no-deps"]
    if wheel:
        return run_engine([*command, wheel])
    with tempfile.TemporaryDirectory() as folder:
        requirement = Path(folder) / "flash_attn.txt"
        requirement.write_text(f"{_FLASH_ATTN} --hash=sha256:{_FLASH_ATTN_SHA256}\n", encoding="utf-8")
        # Its setup.py imports the torch that it is compiled for. Nor may it fetch a wheel by itself.
        return run_engine(
            [*command, "--no-build-isolation", "--require-hashes", "--requirements", str(requirement)],
            env={**os.environ, "FLASH_ATTENTION_FORCE_BUILD": "TRUE"},
        )


def _uv(uv: str, *arguments: str) -> None:
    if run_engine([uv, *arguments], env={**os.environ, **_BUILD}) != 0:
        raise UserError(
            f"uv {arguments[0]} failed, the reason stands above; with a network problem, "
            "run the same command again: what was downloaded is kept"
        )


if __name__ == "__main__":
    run_main(main)
