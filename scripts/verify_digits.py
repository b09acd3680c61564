"""Compare a finished demonstration's weights, to the bit, with those of the same kind of processor before."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from grrm.catalogue.trainings import STAGES
from grrm.files import UserError, read_json, read_yaml, sha256, write_text
from grrm.process import run_main

MODELS = ("grrm_base", "mt_base", *STAGES)
"""In the order in which they are made: the first that differs is where to look."""
# Of the configuration, what weights depend on.
_SECTIONS = ("seed", "data", "prompts", "base_models", *STAGES, "hardware")
_WEIGHTS = "model.safetensors"

Entry = dict[str, Any]


def main(argv: list[str] | None = None) -> None:
    """Say that all weights are equal, or name the first model that differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, required=True, help="folder of the finished experiment")
    parser.add_argument("--digests", type=Path, required=True, help="digests by kind of processor (YAML)")
    parser.add_argument(
        "--write", action="store_true", help="keep this experiment's digests, in place of old ones"
    )
    args = parser.parse_args(argv)
    entries: list[Entry] = read_yaml(args.digests) if args.digests.exists() else []
    found = entry_of(args.results)
    if args.write:
        others = [entry for entry in entries if entry["made_by"] != found["made_by"]]
        write(args.digests, [*others, found])
        print(f"{args.digests}: digests of {len(found['sha256'])} models kept")
        return
    known = next((entry for entry in entries if entry["made_by"] == found["made_by"]), None)
    if known is None:
        if (twin := of_another_processor(found, entries)) is None:
            raise UserError(f"{args.results}: {nothing_known(found['made_by'], entries, args.digests)}")
        its = ", ".join(differing(twin["made_by"], found["made_by"]))
        print(
            f"{args.results}: {args.digests} holds no digests of this processor; equal to the bit to those "
            f"of another ({its}): {', '.join(found['sha256'])}"
        )
        return
    if (name := first_difference(known["sha256"], found["sha256"])) is not None:
        raise UserError(
            f"{args.results}/models/{name}: SHA-256 of the weights is {found['sha256'].get(name)}, expected "
            f"{known['sha256'].get(name)} ({args.digests}); the models before it are equal: look at its log"
        )
    print(f"{args.results}: equal to {args.digests} to the bit: {', '.join(known['sha256'])}")


def entry_of(results: Path) -> Entry:
    """What made the models of an experiment, and the digests of their weights.

    Raises:
        UserError: it is not finished, or its provenance does not tell the processor.
    """
    provenance = read_json(results / "provenance/provenance.json")
    if "machine" not in provenance:
        raise UserError(f"{results}/provenance: tells no processor; run `make demo` again")
    config = read_yaml(results / "config.yaml")
    settings = {section: config[section] for section in _SECTIONS if section in config}
    files = {name: results / "models" / name / _WEIGHTS for name in MODELS}
    return {
        "made_by": {
            "seed": config["seed"],
            "configuration": hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16],
            "torch": provenance["environments"]["train"]["packages"]["torch"],
            **provenance["machine"]["processor"],
        },
        "sha256": {name: sha256(file) for name, file in files.items() if file.exists()},
    }


def first_difference(known: Mapping[str, str], found: Mapping[str, str]) -> str | None:
    """The first model whose digest is another, or that only one of them has."""
    return next((name for name in MODELS if known.get(name) != found.get(name)), None)


def of_another_processor(found: Entry, entries: list[Entry]) -> Entry | None:
    """Equal weights, made from the same by the same software."""
    same = ("seed", "configuration", "torch", "threads")
    return next(
        (
            entry
            for entry in entries
            if entry["sha256"] == found["sha256"]
            and all(entry["made_by"][key] == found["made_by"][key] for key in same)
        ),
        None,
    )


def differing(made_by: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """What of it is not that of another."""
    return [f"{key} {value}" for key, value in made_by.items() if other.get(key) != value]


def nothing_known(made_by: Mapping[str, Any], entries: list[Entry], digests: Path) -> str:
    """Why there is nothing to compare with, in one line."""
    if not entries:
        return f"{digests} holds no digests; keep these with --write"
    # The entry that is most alike says best what is missing.
    unlike = min((differing(made_by, entry["made_by"]) for entry in entries), key=len)
    return (
        f"{digests} holds no digests of {', '.join(unlike)}, nor the same weights by another processor; "
        "keep these with --write"
    )


def write(path: Path, entries: list[Entry]) -> None:
    """Write the digests whole."""
    head = (
        "# SHA-256 of the weights that the demonstration trains, by what their last digits depend on.\n"
        "# Written from a finished one by `scripts/verify_digits.py --write`, compared by `make verify`.\n"
    )
    write_text(path, head + yaml.safe_dump(entries, sort_keys=False, width=110, default_flow_style=None))


if __name__ == "__main__":
    run_main(main)
