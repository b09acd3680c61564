"""A base model that a rehearsal can start reinforcement learning from, or ask as a judge: it ends turns.

python -m grrm.engines.base_start FOLDER OUTPUT

Base models end texts, and SFT teaches them to end turns: without it verl's engines find no end of an answer.
The output links to the model's files, but for its generation settings. Run in an engine's environment.
"""

from __future__ import annotations

import sys
from pathlib import Path

from grrm.engines.loading import end_tokens
from grrm.files import atomic_path, read_json, write_json
from grrm.process import run_main
from grrm.texts import end_of_turn

_SETTINGS = "generation_config.json"


def main(argv: list[str] | None = None) -> None:
    """Write the folder."""
    # Neither tokenizers nor settings need torch, which takes longer to import than all of this.
    sys.modules["torch"] = None  # type: ignore[assignment]
    from transformers import AutoTokenizer

    source, output = map(Path, sys.argv[1:] if argv is None else argv)
    ends = end_tokens(source)
    turn = end_of_turn(AutoTokenizer.from_pretrained(source))
    settings = read_json(source / _SETTINGS) if (source / _SETTINGS).is_file() else {}
    with atomic_path(output) as partial:
        partial.mkdir()
        for file in source.iterdir():
            if file.is_file() and file.name != _SETTINGS:
                (partial / file.name).symlink_to(file.resolve())
        write_json(partial / _SETTINGS, {**settings, "eos_token_id": sorted(ends | {turn} - {None})})


if __name__ == "__main__":
    run_main(main)
