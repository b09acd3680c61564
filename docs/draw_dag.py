"""Filter `snakemake --rulegraph` to what a reader wants to see: data and models, not housekeeping.

snakemake --forceall --rulegraph | python docs/draw_dag.py | tred | dot -Tsvg > docs/dag.svg
"""

from __future__ import annotations

import re
import sys

HOUSEKEEPING = re.compile(r"^(all|build_environment|render_(grrm|mt)_\w+|write_config|check_leakage)$")


def main() -> None:
    """Read a graph in DOT from standard input, write it without housekeeping."""
    lines = sys.stdin.read().splitlines()
    names = dict(re.findall(r'(\d+)\[label = "(\w+)', "\n".join(lines)))
    hidden = {number for number, name in names.items() if HOUSEKEEPING.match(name)}
    for line in lines:
        ends = re.match(r"\s*(\d+)(?: -> (\d+))?", line)
        if not (ends and hidden & set(ends.groups())):
            print(line.replace('"rounded"', '"rounded,filled", fillcolor=white'))


if __name__ == "__main__":
    main()
