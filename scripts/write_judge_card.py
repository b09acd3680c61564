"""Write judge.json: what a judge is trained to answer, for whoever uses its model."""

from __future__ import annotations

import argparse
from pathlib import Path

from grrm.files import UserError
from grrm.judges.card import BradleyTerry, JudgeCard, Pairwise, Pointwise, write_card
from grrm.process import run_main
from grrm.prompts import load_templates
from grrm.rewards.pointwise import HIGHEST, LOWEST


def main(argv: list[str] | None = None) -> None:
    """Write the card; a model that is published with it can be asked in the modes named here."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stage", required=True, help="the training")
    parser.add_argument("--pointwise-prompt", type=Path, help="prompt file, if it scores responses")
    parser.add_argument("--pairwise-prompt", type=Path, help="prompt file, if it compares responses")
    parser.add_argument("--pointwise-limits", type=int, nargs=2, metavar=("PROMPT", "ANSWER"), help="tokens")
    parser.add_argument("--pairwise-limits", type=int, nargs=2, metavar=("PROMPT", "ANSWER"), help="tokens")
    parser.add_argument("--one-order", action="store_true", help="pairs were shown in one order only")
    parser.add_argument("--bradley-terry-length", type=int, help="longest conversation, if it gives numbers")
    parser.add_argument("--output", type=Path, required=True, help="judge.json to write")
    args = parser.parse_args(argv)
    for mode in ("pointwise", "pairwise"):
        if (getattr(args, f"{mode}_prompt") is None) != (getattr(args, f"{mode}_limits") is None):
            parser.error(f"--{mode}-prompt and --{mode}-limits belong together")

    pointwise = pairwise = bradley_terry = None
    if args.pointwise_prompt:
        templates = _templates(args.pointwise_prompt, "judge_pointwise")
        pointwise = Pointwise(templates, LOWEST, HIGHEST, *args.pointwise_limits)
    if args.pairwise_prompt:
        templates = _templates(args.pairwise_prompt, "judge_pairwise")
        pairwise = Pairwise(templates, not args.one_order, *args.pairwise_limits)
    if args.bradley_terry_length:
        bradley_terry = BradleyTerry(args.bradley_terry_length)
    card = JudgeCard(pointwise, pairwise, bradley_terry, args.stage)
    if not card.modes:
        raise UserError("a judge without a mode: name a prompt, or --bradley-terry-length")
    write_card(args.output, card)


def _templates(path: Path, kind: str) -> dict[str, str]:
    return {"kind": kind, **load_templates(path, kind)}


if __name__ == "__main__":
    run_main(main)
