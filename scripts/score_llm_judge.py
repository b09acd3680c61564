"""Score translations of a test set with a large language model behind an OpenAI-compatible endpoint."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from grrm.asking.options import JudgeOptions, without_variables_of
from grrm.files import UserError
from grrm.metrics.llm_judge import load_prompt, score_segments, signature
from grrm.metrics.segments import add_segment_options, read_segments
from grrm.process import run_main


def main(argv: list[str] | None = None) -> None:
    """Write one score from 0 to 100 per segment, run and model; null where the judge failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--settings",
        required=True,
        help="model, url, temperature... (JSON); the key is read from the environment variable JUDGE_API_KEY",
    )
    parser.add_argument("--prompt", type=Path, required=True, help="prompt of kind judge_translation (YAML)")
    add_segment_options(parser)
    parser.add_argument("--cache", type=Path, help="file (SQLite) with answers so far, to go on from")
    parser.add_argument("--output", type=Path, required=True, help="segment scores to write (JSON)")
    args = parser.parse_args(argv)

    try:
        settings = json.loads(args.settings)
    except json.JSONDecodeError as error:
        raise UserError(f"--settings: not JSON ({error})") from error
    settings = {key: value for key, value in settings.items() if value is not None and key != "prompt"}
    # Variables about the judge that rewards are no variables about the one that evaluates.
    environment = without_variables_of(settings, os.environ)
    options = JudgeOptions.from_mapping({**settings, "cache": str(args.cache or "")}, environment)
    render = load_prompt(args.prompt)
    segments = read_segments(args.reference, args.translations)
    judged = score_segments(list(segments), render, options)
    segments.write(
        args.output,
        judged.scores,
        signature(options, args.prompt),
        model=options.model,
        failures=judged.reasons,
        answers=judged.answers,
    )
    print(
        f"{sum(score is not None for score in judged.scores)} of {len(judged.scores)} segments have a score"
    )


if __name__ == "__main__":
    run_main(main)
