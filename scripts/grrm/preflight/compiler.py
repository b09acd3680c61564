"""What Triton compiles with on the machine of a GPU job: a C compiler, and the header files of Python."""

from __future__ import annotations

from grrm.preflight.findings import Finding, failed, ok, unknown

CHECK = "compiler"
# As Triton looks for them (triton/runtime/build.py); to be run by the interpreter of the environment.
LOOK = """
import os, shutil, sysconfig
print(shutil.which(os.environ.get("CC") or "gcc") or shutil.which("clang") or "")
scheme = sysconfig.get_default_scheme().replace("posix_local", "posix_prefix")
header = os.path.join(sysconfig.get_paths(scheme=scheme)["include"], "Python.h")
print(header if os.path.isfile(header) else "")
print("looked")
"""


def check_compiler(status: int, words: str, where: str) -> Finding:
    """Whether both are there.

    Args:
        status: exit status of LOOK.
        words: what it printed.
        where: which machine it ran on.
    """
    lines = words.split("\n")
    if status != 0 or "looked" not in lines or lines.index("looked") < 2:
        return unknown(CHECK, f"{where} could not be asked for gcc and Python.h, which Triton needs")
    end = lines.index("looked")
    compiler, header = lines[end - 2].strip(), lines[end - 1].strip()
    missing = [name for name, found in (("gcc (or clang)", compiler), ("Python.h", header)) if not found]
    if missing:
        remedy = "install gcc and the headers of Python (python3-dev), load a module that has them, or set CC"
        return failed(CHECK, f"{where} has no {' and no '.join(missing)}, which Triton needs", remedy)
    return ok(CHECK, f"{where} has {compiler} and {header}")
