"""Let a judge answer a held-out set: scores, comparisons in both orders, or numbers."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from grrm.data.judge_data import read_records
from grrm.data.prepare_judges import judge_prompt
from grrm.data.records import Compared, Graded, Preferred
from grrm.files import write_jsonl
from grrm.inference import AnswerError, Decoding, Engine, Question, ask, open_backend
from grrm.inference.backends import folder_origin
from grrm.inference.bradley_terry import score
from grrm.inference.runs import provenance
from grrm.judges.card import BradleyTerry, JudgeCard, Pairwise, Pointwise, read_card, use
from grrm.judges.conversation import with_response
from grrm.process import run_main


def main(argv: list[str] | None = None) -> None:
    """Write one line per question, in the order of the rows; both orders of a pair follow each other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mode", choices=["pointwise", "pairwise", "bradley_terry"], required=True)
    parser.add_argument("--model", type=Path, required=True, help="model folder of the judge")
    parser.add_argument("--card", type=Path, help="judge.json instead of the model's own")
    parser.add_argument("--input", type=Path, required=True, help="held-out rows of any known layout")
    parser.add_argument("--output", type=Path, required=True, help="answers to write (JSON lines)")
    parser.add_argument("--batch-size", type=int, default=32, help="questions a batch (default: 32)")
    parser.add_argument("--seed", type=int, default=0, help="of a head that is not trained yet (default: 0)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    args = parser.parse_args(argv)

    card = read_card(args.card.parent if args.card else args.model)
    records = read_records([args.input], args.mode)
    answer = _scored if args.mode == "bradley_terry" else _answered
    answers = answer(args, card, records)
    write_jsonl(args.output, answers)
    print(f"{sum(answer['failure'] is None for answer in answers)} of {len(answers)} answers are valid")


def _answered(
    args: argparse.Namespace, card: JudgeCard, records: Sequence[Graded | Compared]
) -> list[dict[str, Any]]:
    judge = use(card, args.mode, args.model)
    assert isinstance(judge, Pointwise | Pairwise)
    questions = [
        place
        for record in records
        for place in ([record, record.swapped()] if isinstance(record, Compared) else [record])
    ]
    prompts = [judge_prompt(question, judge.asks) for question in questions]
    decoding = Decoding(judge.max_new_tokens)
    asked = [Question(prompt, partial(_read, judge), (args.seed, i)) for i, prompt in enumerate(prompts)]
    engine = Engine(batch_size=args.batch_size, threads=args.threads)
    with closing(open_backend(args.model, engine)) as backend:
        answers = dict(ask(backend, asked, decoding))
        made_by = provenance(backend, decoding)
    return [
        {
            "index": index,
            "prompt": prompt,
            "answer": answers[index].text,
            "value": answers[index].value,
            "failure": answers[index].failure,
            "detail": answers[index].detail,
            **made_by,
        }
        for index, prompt in enumerate(prompts)
    ]


def _read(judge: Pointwise | Pairwise, text: str) -> int | str:
    """What the judge decided."""
    try:
        return judge.read(text)
    except ValueError as error:
        raise AnswerError("malformed", str(error)) from error


def _scored(args: argparse.Namespace, card: JudgeCard, records: Sequence[Preferred]) -> list[dict[str, Any]]:
    judge = use(card, "bradley_terry", args.model)
    assert isinstance(judge, BradleyTerry)
    conversations = [
        with_response(record.conversation, text)
        for record in records
        for text in (record.chosen, record.rejected)
    ]
    scores = score(
        args.model,
        conversations,
        judge.max_length,
        batch_size=args.batch_size,
        threads=args.threads,
        seed=args.seed,
    )
    made_by = {**folder_origin(args.model, args.model), "decoding": {"max_length": judge.max_length}}
    return [
        {
            "index": index,
            "prompt": record.row()["chosen"],
            "value": [scores[2 * index], scores[2 * index + 1]],
            "failure": None,
            **made_by,
        }
        for index, record in enumerate(records)
    ]


if __name__ == "__main__":
    run_main(main)
