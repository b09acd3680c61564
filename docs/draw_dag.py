"""Draw `snakemake --rulegraph`: every true edge between the rules that a reader looks for, coloured by what they do.

snakemake --nolock --forceall --rulegraph | python docs/draw_dag.py | dot -Tsvg > docs/dag.svg

Housekeeping (environments, copies of the configuration) is left out; what it connects stays connected.
"""

from __future__ import annotations

import re
import sys

HOUSEKEEPING = re.compile(r"all|build_environment|render_(grrm|mt)_\w+|write_config|write_provenance")
KINDS = {
    "data": (r"make_toy_world|prepare_\w+", "#d7e8f7"),
    "gate": (r"check_leakage", "#fbd9c8"),
    "model": (r"make_base_models|train_\w+|take_\w+", "#d5efdf"),
    "answers": (r"rank_\w+|translate_\w+|judge_\w+|answer_\w+", "#fff0b3"),
    "scores and report": (r"\w+", "#eceff2"),
}
"""What a rule does -> names of such rules (the first that fits counts), and the colour of their boxes."""


def read(graph: str) -> dict[str, set[str]]:
    """Rule -> the rules that it needs, of a graph in DOT as Snakemake prints it."""
    names = dict(re.findall(r'(\d+)\[label = "(\w+)', graph))
    needs: dict[str, set[str]] = {name: set() for name in names.values()}
    for before, after in re.findall(r"(\d+) -> (\d+)", graph):
        needs[names[after]].add(names[before])
    return needs


def without(needs: dict[str, set[str]], hidden: re.Pattern[str]) -> dict[str, set[str]]:
    """The same without some rules: what needed one of them needs what that one needed."""

    def shown(name: str) -> set[str]:
        return set().union(*(shown(before) for before in needs[name])) if hidden.fullmatch(name) else {name}

    return {
        name: set().union(*(shown(before) for before in found))
        for name, found in needs.items()
        if not hidden.fullmatch(name)
    }


def kind(name: str) -> str:
    """What a rule does: a key of KINDS."""
    return next(kind for kind, (names, _) in KINDS.items() if re.fullmatch(names, name))


def draw(needs: dict[str, set[str]]) -> str:
    """The graph in DOT, with a key of the colours."""
    lines = ["digraph rules {", "ranksep=0.45; nodesep=0.2; bgcolor=white;"]
    lines.append(
        'node [shape=box, style="rounded,filled", color="#9aa4ae", fontname="sans-serif", fontsize=11];'
    )
    lines.append('edge [color="#59636e", arrowsize=0.6];')
    for name in sorted(needs):
        lines.append(f'{name} [fillcolor="{KINDS[kind(name)][1]}"];')
        lines += [f"{before} -> {name};" for before in sorted(needs[name])]
    cells = "".join(f'<td bgcolor="{colour}">{text}</td>' for text, (_, colour) in KINDS.items())
    lines.append(
        f'key [shape=plain, style="", label=<<table border="0" cellspacing="6"><tr>{cells}</tr></table>>];'
    )
    return "\n".join([*lines, "}", ""])


def main() -> None:
    """From standard input to standard output."""
    sys.stdout.write(draw(without(read(sys.stdin.read()), HOUSEKEEPING)))


if __name__ == "__main__":
    main()
