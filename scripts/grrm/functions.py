"""Python functions of a user's own, named path/to/file.py:function."""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

from grrm.files import UserError

Function = Callable[..., Any]


def file_of(spec: str) -> Path:
    """The file that `spec` names."""
    return Path(spec.rpartition(":")[0])


def check_function(spec: str, key: str) -> None:
    """Look, without running anything, whether there is such a function.

    Args:
        spec: path/to/file.py:function.
        key: of the configuration that names it, for messages.

    Raises:
        UserError: there is no such file, it is not Python, or nothing in it has that name.
    """
    path, name = file_of(spec), spec.rpartition(":")[2]
    try:
        tree = ast.parse(path.read_bytes(), str(path))
    except OSError as error:
        raise UserError(
            f"{key} is {spec!r}, but {path} cannot be read ({error.strerror}); expected "
            "path/to/file.py:function"
        ) from error
    except (SyntaxError, ValueError) as error:
        raise UserError(f"{key} is {spec!r}, but {path} is not Python ({error})") from error
    if name not in (names := _names(tree)) and "*" not in names:
        raise UserError(f"{key} is {spec!r}, but {path} has no function {name}")


def _names(tree: ast.Module) -> set[str]:
    """What a module binds, wherever it does; a star stands for what it imports by one."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


def load_function(spec: str) -> Function:
    """The function; what lies in the folder of its file may be imported by it.

    Raises:
        UserError: there is none, or its file cannot be imported.
    """
    path, name = file_of(spec), spec.rpartition(":")[2]
    if path.suffix != ".py" or not name.isidentifier():
        raise UserError(f"function {spec!r}: expected path/to/file.py:function")
    if not path.is_file():
        raise UserError(f"{path}: no such file; expected a Python file with the function {name}")
    # A name of its own: two files may be called the same.
    module_name = f"grrm_own_{path.stem}_{sha256(str(path.resolve()).encode()).hexdigest()[:8]}"
    module_spec = importlib.util.spec_from_file_location(module_name, path)
    assert module_spec is not None
    assert module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[module_name] = module
    if (folder := str(path.resolve().parent)) not in sys.path:
        sys.path.append(folder)
    try:
        module_spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise UserError(
            f"{path}: cannot be loaded ({said(error)}); import what only some environments have inside {name}"
        ) from error
    function = getattr(module, name, None)
    if not callable(function):
        raise UserError(f"{path}: no function {name}")
    return function  # type: ignore[no-any-return]


def said(error: BaseException) -> str:
    """An exception in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
