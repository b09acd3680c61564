"""The prompts of the paper's authors, read out of the Python source of their repository without running it.

Their text is no part of this project: it is parsed (`ast`) out of a checkout. Strings, tables of strings and
the few operations that put them together are read; anything else is an error that names file and line.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from string import Formatter
from typing import Any

from grrm.files import UserError

GROUP_FILE = "inference/run_rm_GQM.py"
POINTWISE_FILE = "inference/run_rm_SQM.py"
TRANSLATION_FILE = "inference/run_mt.py"
NAMES_FILE = "utils/config.py"
FILES = (GROUP_FILE, POINTWISE_FILE, TRANSLATION_FILE, NAMES_FILE)

# What their get_prompt of translations takes; the branch on the first one holds the template.
_PARAMETERS = ("prompt_type", "src_lang", "trg_lang", "src_text", "trg_token")


@dataclass(frozen=True)
class Branch:
    """The statements by which one type of translation prompt is made.

    Attributes:
        file: where they stand.
        body: assignments, assertions and one return.
    """

    file: str
    body: Sequence[ast.stmt]

    def render(self, names: Mapping[str, str | None]) -> str:
        """The prompt.

        Args:
            names: value of every parameter of their function.

        Raises:
            UserError: a statement is of a kind that is not read; names file and line.
            ValueError: an assertion of theirs does not hold.
        """
        return _run(self.body, dict(names), self.file)


@dataclass(frozen=True)
class UpstreamPrompts:
    """What their prompts are made of. Templates have bare `{}` in the places of the values.

    Attributes:
        languages: name by two-letter code.
        labels: of the candidates, by position.
        tasks: what is asked for, by kind: score, ranking, ranking_score.
        examples: how the answer ends, by kind.
        group: template of a group: two languages, task, source and candidates.
        candidate: template of one candidate: label and text.
        pointwise: template of a single translation: two languages, source and translation.
        translations: how translation prompts are made, by type.
    """

    languages: Mapping[str, str]
    labels: Sequence[str]
    tasks: Mapping[str, str]
    examples: Mapping[str, str]
    group: str
    candidate: str
    pointwise: str
    translations: Mapping[str, Branch]

    def language(self, code: str) -> str:
        """Their name of a language by its two-letter code; anything longer stands for itself.

        Raises:
            UserError: they have no name for the code.
        """
        if len(code) != 2:
            return code
        if code not in self.languages:
            raise UserError(
                f"the authors' prompts have no name for the language {code!r}; they have "
                f"{', '.join(sorted(self.languages))}"
            )
        return self.languages[code]


def parse_upstream(sources: Mapping[str, bytes]) -> UpstreamPrompts:
    """Read the prompts out of their source files.

    Args:
        sources: content of each of `FILES`.

    Raises:
        UserError: something is not where it is expected, or not of a form that is read; names file and line.
    """
    trees = {file: _tree(file, sources[file]) for file in FILES}
    names = _Constants(NAMES_FILE, trees[NAMES_FILE])
    group = _Constants(GROUP_FILE, trees[GROUP_FILE])
    pointwise = _Constants(POINTWISE_FILE, trees[POINTWISE_FILE])
    tasks, examples = group.table("Task_format"), group.table("Output_example")
    if tasks.keys() != examples.keys():
        raise UserError(f"{GROUP_FILE}: tasks for {sorted(tasks)}, output examples for {sorted(examples)}")
    return UpstreamPrompts(
        languages=names.table("LANG_MAP"),
        labels=names.texts("candidate_identifiers"),
        tasks=tasks,
        examples=examples,
        group=group.template("prompt_template", 5),
        candidate=group.template("candidate_prompt", 2),
        pointwise=pointwise.template("promt_template", 4),  # so spelled there
        translations=_branches(TRANSLATION_FILE, trees[TRANSLATION_FILE]),
    )


class _Constants:
    """The names that a module gives to strings and tables of strings."""

    def __init__(self, file: str, tree: ast.Module) -> None:
        self.file = file
        self.values: dict[str, Any] = {}
        self.unreadable: dict[str, UserError] = {}
        stores = [
            name.id
            for statement in tree.body
            if not isinstance(statement, ast.FunctionDef | ast.ClassDef)
            for name in ast.walk(statement)
            if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)
        ]
        for name, value in _assignments(tree.body):
            try:
                if stores.count(name) > 1:
                    raise _error(file, value, f"{name} is set more than once")
                self.values[name] = _evaluate(value, self.values, file)
            except UserError as error:
                self.unreadable[name] = error

    def table(self, name: str) -> dict[str, str]:
        value = self._get(name)
        if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
            raise UserError(f"{self.file}: {name} is not a table of texts")
        return value

    def texts(self, name: str) -> list[str]:
        value = self._get(name)
        if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
            raise UserError(f"{self.file}: {name} is not a list of texts")
        return value

    def template(self, name: str, places: int) -> str:
        value = self._get(name)
        if not isinstance(value, str):
            raise UserError(f"{self.file}: {name} is not a text")
        if (found := _places(value)) != places:
            raise UserError(
                f"{self.file}: {name} has {found} bare {{}}; expected {places} and no other braces"
            )
        return value

    def _get(self, name: str) -> Any:
        if name in self.unreadable:
            raise self.unreadable[name]
        if name not in self.values:
            raise UserError(f"{self.file}: {name} is not there; the file is not of the commit that is read")
        return self.values[name]


def _tree(file: str, source: bytes) -> ast.Module:
    try:
        return ast.parse(source, file)
    except (SyntaxError, ValueError) as error:
        raise UserError(f"{file}: not Python source ({error})") from error


def _assignments(statements: Sequence[ast.stmt]) -> Iterator[tuple[str, ast.expr]]:
    for statement in statements:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                yield name, value
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                yield name, value


def _branches(file: str, tree: ast.Module) -> dict[str, Branch]:
    """The branches of get_prompt by the type of prompt that leads into them."""
    functions = [
        node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "get_prompt"
    ]
    if len(functions) != 1:
        raise UserError(f"{file}: {len(functions)} functions get_prompt; expected one")
    function = functions[0]
    parameters = tuple(argument.arg for argument in function.args.args)
    if parameters != _PARAMETERS:
        raise _error(file, function, f"get_prompt takes {parameters}; expected {_PARAMETERS}")
    found: dict[str, Branch] = {}
    for statement in function.body:
        chain: ast.stmt | None = statement
        while isinstance(chain, ast.If) and _asks_for_type(chain.test):
            for kind in _types(chain.test, file):
                found.setdefault(kind, Branch(file, chain.body))
            chain = chain.orelse[0] if len(chain.orelse) == 1 else None
    if not found:
        raise _error(file, function, "get_prompt has no branches on prompt_type")
    return found


def _asks_for_type(test: ast.expr) -> bool:
    return any(isinstance(node, ast.Name) and node.id == _PARAMETERS[0] for node in ast.walk(test))


def _types(test: ast.expr, file: str) -> list[str]:
    match test:
        case ast.BoolOp(op=ast.Or(), values=parts):
            return [kind for part in parts for kind in _types(part, file)]
        case ast.Compare(left=ast.Name(), ops=[ast.Eq()], comparators=[ast.Constant(value=str(kind))]):
            return [kind]
        case ast.Compare(left=ast.Name(), ops=[ast.In()], comparators=[ast.List() | ast.Tuple() as kinds]):
            values = _evaluate(kinds, {}, file)
            if all(isinstance(kind, str) for kind in values):
                return list(values)
    raise _error(file, test, f"`{ast.unparse(test)}` is no comparison of prompt_type with texts")


def _run(statements: Sequence[ast.stmt], names: dict[str, Any], file: str) -> str:
    for statement in statements:
        match statement:
            case ast.Return(value=ast.expr() as value):
                text = _evaluate(value, names, file)
                if not isinstance(text, str):
                    raise _error(file, value, "a prompt that is no text")
                return text
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                names[name] = _evaluate(value, names, file)
            case ast.Assert(
                test=ast.Compare(
                    left=ast.Name(id=name), ops=[ast.IsNot()], comparators=[ast.Constant(value=None)]
                )
            ):
                if names.get(name) is None:
                    raise ValueError(f"{name} must be given ({file}, line {statement.lineno})")
            case _:
                raise _error(file, statement, f"`{ast.unparse(statement)}` is not read")
    raise UserError(f"{file}: a branch of get_prompt returns nothing")


def _evaluate(node: ast.expr, names: Mapping[str, Any], file: str) -> Any:
    """The value of an expression of texts: literals, names, f-strings, `+`, tables, `format`, `replace`."""
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name) if name in names:
            return names[name]
        case ast.List(elts=parts) | ast.Tuple(elts=parts):
            return [_evaluate(part, names, file) for part in parts]
        case ast.Dict(keys=keys, values=values) if None not in keys:
            return {
                _text(key, names, file): _evaluate(value, names, file)
                for key, value in zip(keys, values, strict=True)
                if key is not None
            }
        case ast.Subscript(value=table, slice=key):
            content, name = _evaluate(table, names, file), _text(key, names, file)
            if isinstance(content, dict) and name in content:
                return content[name]
        case ast.JoinedStr(values=parts):
            return "".join(_text(part, names, file) for part in parts)
        case ast.FormattedValue(value=value, conversion=-1, format_spec=None):
            return _text(value, names, file)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _text(left, names, file) + _text(right, names, file)
        case ast.Call(func=ast.Attribute(value=template, attr="format"), args=arguments, keywords=[]):
            text = _text(template, names, file)
            texts = [_text(argument, names, file) for argument in arguments]
            if _places(text) == len(texts):
                return text.format(*texts)
        case ast.Call(func=ast.Attribute(value=whole, attr="replace"), args=[old, new], keywords=[]):
            return _text(whole, names, file).replace(_text(old, names, file), _text(new, names, file))
    raise _error(file, node, f"`{ast.unparse(node)}` is no expression of texts that is read")


def _text(node: ast.expr, names: Mapping[str, Any], file: str) -> str:
    value = _evaluate(node, names, file)
    if not isinstance(value, str):
        raise _error(file, node, f"`{ast.unparse(node)}` is {value!r}; expected a text")
    return value


def _places(template: str) -> int | None:
    """How many bare {} a format template has; None if it has other fields, or is no such template."""
    try:
        fields = [field[1:] for field in Formatter().parse(template) if field[1] is not None]
    except ValueError:
        return None
    return len(fields) if all(field == ("", "", None) for field in fields) else None


def _error(file: str, node: ast.expr | ast.stmt, what: str) -> UserError:
    return UserError(f"{file}, line {node.lineno}: {what}")
