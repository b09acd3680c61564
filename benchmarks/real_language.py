"""How far the chain gets on real text with a small model that people have trained, in a given time.

    .venv/bin/python benchmarks/real_language.py --minutes 60

Text: first lines of Debian's package descriptions and what people have made of them in Spanish, fetched by
apt (Debian or Ubuntu) into a folder that is removed at the end. Candidates: what people wrote, what the
rule-based system Apertium writes (`apt-get install apertium-eng-spa`; without it there is one candidate
less), the beginning of what people wrote, and the English text itself; their scores are chrF++ against what
people wrote. Model: SmolLM2-135M-Instruct, with which the GRRM and the translation model start.

Numbers of rows and steps follow from the minutes. What is seen is printed, whatever it is; no marks are set.
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import sacrebleu
import yaml

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests")]

from grrm.files import write_jsonl  # noqa: E402
from grrm.prompts import translation_answer  # noqa: E402
from real_model import smollm2  # noqa: E402

WORDS = range(3, 9)
"""Words of a source: short ones, as a token of the smallest model costs a core a hundredth of a second."""
SPEED = 65
"""Tokens that a core learns in a second, measured on 135 million parameters in float32 (AVX2)."""
TESTED = 40
# Stage -> share of the time, tokens of a row (a rollout: read and written), rows of a step. The translation
# model's SFT runs beside the GRRM's; the rest of the time is for starts and the evaluation.
STAGES = {
    "grrm_sft": (0.45, 190, 8),
    "grrm_rlvr": (0.12, 500, 16),
    "mt_sft": (0.45, 80, 8),
    "mt_grpo": (0.2, 500, 32),
}
RL = {
    "train_batch_size": 8,
    "mini_batch_size": 8,
    "micro_batch_size": 8,
    "learning_rate": 2e-5,
    "warmup_steps": 0,
}


def main() -> None:
    """Fetch, train, evaluate; print what came out."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60, help="in all, about")
    parser.add_argument("--cores", type=int, default=2, help="each trains one model at a time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--experiment", default="real_language", help="name of the folder below results/")
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        pairs = segments(Path(folder))
        random.Random(args.seed).shuffle(pairs)
        config = configuration(args, Path(folder), pairs)
        file = Path(folder) / "config.yaml"
        file.write_text(yaml.safe_dump(config), encoding="utf-8")
        started = time.monotonic()
        command = [sys.executable, "scripts/run_workflow.py", "--cores", str(args.cores)]
        subprocess.run([*command, "--configfile", str(file)], cwd=ROOT, check=True)
    print(f"\n{(time.monotonic() - started) / 60:.0f} minutes on {args.cores} cores")
    report = ROOT / "results" / args.experiment / "summary.json"
    subprocess.run(
        [sys.executable, "scripts/print_summary.py", "--summary", str(report)], cwd=ROOT, check=True
    )


def segments(folder: Path) -> list[tuple[str, str]]:
    """English and Spanish first lines of descriptions, each once."""
    if not shutil.which("apt-get"):
        sys.exit("error: apt-get is not here; this benchmark needs a Debian or Ubuntu")
    lists = folder / "lists"
    (lists / "partial").mkdir(parents=True)
    folder.chmod(0o755)  # for the user that apt fetches as
    options = [
        "-o",
        f"Dir::State::lists={lists}",
        "-o",
        "Acquire::Languages=en,es",
        "-o",
        "APT::Update::Post-Invoke::=",
    ]
    subprocess.run(["apt-get", "--quiet", *options, "update"], check=True, stdout=subprocess.DEVNULL)
    english, spanish = (dict(descriptions(lists, language)) for language in ("en", "es"))
    found = {
        english[key]: text
        for key, text in spanish.items()
        if key in english and text != english[key] and len(english[key].split()) in WORDS
    }
    if not found:
        sys.exit("error: apt has no Spanish descriptions here; its sources need Debian's main archive")
    return sorted(found.items())


def descriptions(lists: Path, language: str) -> Iterator[tuple[str, str]]:
    """Description-md5 and first line of every description in a language."""
    for file in lists.glob(f"*i18n_Translation-{language}*"):
        # In whatever way apt has compressed it.
        text = subprocess.run(
            ["/usr/lib/apt/apt-helper", "cat-file", file], check=True, capture_output=True, text=True
        ).stdout
        for stanza in text.split("\n\n"):
            fields = dict(
                line.split(": ", 1)
                for line in stanza.splitlines()
                if line[:12] == "Description-" and ": " in line
            )
            if fields.keys() >= {"Description-md5", f"Description-{language}"}:
                yield fields["Description-md5"], fields[f"Description-{language}"].strip()


def configuration(args: argparse.Namespace, folder: Path, pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """The experiment, with its rows written into the folder."""
    steps = {
        stage: max(2, int(share * args.minutes * 60 * SPEED / (tokens * rows)))
        for stage, (share, tokens, rows) in STAGES.items()
    }
    tested, learned = pairs[: 2 * TESTED], pairs[2 * TESTED :]
    groups = [*rankings(learned, args.seed)]
    files = {
        "rankings": groups[: max(16, steps["grrm_sft"] * 8)],
        "chains": [chain(*pair) for pair in learned[: max(16, steps["mt_sft"] * 8)]],
        "pairs": [pair_row(*pair) for pair in learned[-max(16, steps["mt_grpo"] * 8) :]],
        "ranking_test": [*rankings(tested[:TESTED], args.seed)],
        "translation_test": [pair_row(*pair) for pair in tested[TESTED:]],
    }
    paths = {}
    for name, rows in files.items():
        paths[name] = str(folder / f"{name}.jsonl")
        write_jsonl(folder / f"{name}.jsonl", rows)
    print(f"{len(pairs)} segments; steps: {steps}")
    start = {"start_from": str(smollm2())}
    sft = {
        **start, "batch_size": 8, "learning_rate": 3e-4, "warmup_steps": 5, "cutoff_len": 512,
        "save_steps": 200, "threads": 1,
    }  # fmt: skip
    rl = {**RL, "threads": 1, "max_response_length": 96}
    return {
        "experiment": args.experiment,
        "seed": args.seed,
        "data": {
            "source": "files",
            "files": {
                "grrm_sft": paths["rankings"],
                "grrm_rlvr": paths["rankings"],
                "mt_sft": paths["chains"],
                "mt_grpo": paths["pairs"],
            },
            "test_sets": {
                "graded": {"task": "ranking", "file": paths["ranking_test"]},
                "descriptions": {"task": "translation", "file": paths["translation_test"]},
            },
            "max_leakage": {"default": 1.0},  # short lines have words in common
        },
        "prompts": {
            "ranking": "config/prompts/toy_ranking.yaml",
            "translation": "config/prompts/toy_translation.yaml",
        },
        "grrm_sft": {**sft, "template": "model", "max_steps": steps["grrm_sft"]},
        "grrm_rlvr": {
            **rl, "augment": {"subgroup": 0, "shuffle": 0}, "steps": steps["grrm_rlvr"], "save_steps": 50,
            "rollouts": 2, "max_prompt_length": 384,
        },
        "mt_sft": {**sft, "max_steps": steps["mt_sft"]},
        "mt_grpo": {
            **rl, "steps": steps["mt_grpo"], "save_steps": 50, "rollouts": 4, "max_prompt_length": 128,
            "reward": {
                "overlong_buffer": 8, "max_prompt_length": 512, "max_response_length": 96, "retries": 0,
                "max_failure_rate": 1.0,
            },
        },
        "evaluate": {
            "metrics": [], "checkpoints": [], "batch_size": 20, "bootstrap_samples": 500, "orders": 0,
            "ranking": {"max_new_tokens": 96}, "translation": {"max_new_tokens": 64}, "samples": 20,
        },
    }  # fmt: skip


def pair_row(source: str, target: str) -> dict[str, Any]:
    """A row of a sentence pair."""
    return {"src_text": source, "trg_text": target, "src_lang": "en", "trg_lang": "es"}


def chain(source: str, target: str) -> dict[str, Any]:
    """A row of a translation after a word of reasoning."""
    row = pair_row(source, target)
    del row["trg_text"]
    return {**row, "response": translation_answer("A short description of software.", target)}


def rankings(pairs: Sequence[tuple[str, str]], seed: int) -> Iterator[dict[str, Any]]:
    """Groups of candidates with what they share with what people wrote."""
    metric = sacrebleu.CHRF(word_order=2)
    order = random.Random(seed)
    for (source, target), rules in zip(pairs, by_rules([source for source, _ in pairs]), strict=True):
        words = target.split()
        texts = dict.fromkeys(filter(None, [target, rules, " ".join(words[: (len(words) + 1) // 2]), source]))
        candidates = order.sample([*texts], len(texts))
        scores = [round(metric.sentence_score(text, [target]).score / 10) for text in candidates]
        best = "ABCD"[scores.index(max(scores))]
        analysis = f"{best} says all of it in good Spanish."
        yield {**pair_row(source, target), "mt_texts": candidates, "scores": scores, "analysis": analysis}


def by_rules(sources: Sequence[str]) -> list[str]:
    """Apertium's translations; empty without it."""
    if not shutil.which("apertium"):
        return [""] * len(sources)
    # An empty line ends a sentence; over a mere line end Apertium moves words.
    done = subprocess.run(
        ["apertium", "-u", "eng-spa"],
        input="\n\n".join(sources) + "\n", capture_output=True, text=True, check=True,
    )  # fmt: skip
    written = done.stdout.rstrip("\n").split("\n\n")
    if len(written) != len(sources):
        sys.exit(f"error: apertium gave {len(written)} lines for {len(sources)}")
    return [line.strip() for line in written]


if __name__ == "__main__":
    main()
