"""Write down which machines have joined a Ray cluster, until all have. Run in the environment with Ray."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from grrm.files import write_text


def main(argv: list[str] | None = None) -> None:
    """Ask Ray twice a second; the address and the token are in the environment."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--nodes", nargs="+", required=True, help="names, as given to `ray start --node-name`"
    )
    parser.add_argument(
        "--output", type=Path, required=True, help="file for the names of those that are there"
    )
    args = parser.parse_args(argv)
    joined: set[str] = set()
    while not set(args.nodes) <= joined:
        try:
            joined = _alive()
        except (ConnectionError, RuntimeError) as error:  # the first machine's Ray is not there yet
            print(error, flush=True)
        write_text(args.output, "\n".join(sorted(joined)))
        time.sleep(0.5)


def _alive() -> set[str]:
    import ray

    if not ray.is_initialized():
        ray.init(log_to_driver=False, logging_level="error")
    return {node["NodeName"] for node in ray.nodes() if node["Alive"]}


if __name__ == "__main__":
    main()
