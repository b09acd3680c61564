"""Train a Bradley-Terry judge with TRL's RewardTrainer; run by the python of the environment that has it.

python -m grrm.engines.trl_reward CONFIG [TRACKER]

The loss is -log sigmoid(chosen - rejected), with a margin -log sigmoid(chosen - rejected - margin). A
training goes on after its last checkpoint.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForSequenceClassification
from transformers.trainer_utils import get_last_checkpoint
from trl import RewardConfig, RewardTrainer

from grrm.data.judge_data import read_records
from grrm.data.records import Preferred
from grrm.engines.rendering import check_tokenizer
from grrm.engines.step_times import StepTimes
from grrm.engines.stop_callback import StopWhenAsked
from grrm.engines.trl import weights_dtype
from grrm.files import UserError, read_yaml, write_jsonl
from grrm.inference.bradley_terry import load_tokenizer
from grrm.judges.conversation import encode, with_response
from grrm.process import run_main

LOG = "log.jsonl"


def main(argv: list[str] | None = None) -> None:
    """Train, then write the model and the log of its steps into the working folder."""
    path, *tracker = sys.argv[1:] if argv is None else argv
    config = read_yaml(path)
    working = Path(config["output_dir"])
    arguments = RewardConfig(
        output_dir=str(working), max_length=None, report_to=tracker or "none", **config["training"]
    )
    torch.manual_seed(arguments.seed)  # of the head's first weights
    tokenizer = load_tokenizer(config["model_name_or_path"])
    model = AutoModelForSequenceClassification.from_pretrained(
        config["model_name_or_path"],
        local_files_only=True,
        num_labels=1,
        dtype=weights_dtype(config),
    )
    check_tokenizer(tokenizer, model.config.get_text_config().vocab_size)
    model.config.pad_token_id = tokenizer.pad_token_id
    rows = training_rows(read_records([config["data"]], "bradley_terry"), tokenizer, config)
    trainer = RewardTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        callbacks=[StopWhenAsked(), StepTimes()],
    )
    trainer.train(resume_from_checkpoint=get_last_checkpoint(str(working)))
    trainer.save_model(str(working))
    if trainer.is_world_process_zero():
        write_jsonl(working / LOG, trainer.state.log_history)


def training_rows(
    records: list[Preferred], tokenizer: Any, config: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Tokens of both conversations of each pair, and its margin if one is asked for.

    Raises:
        UserError: a margin is asked for, and a row has none.
    """
    rows = []
    for number, record in enumerate(records):
        row: dict[str, Any] = {
            f"{side}_input_ids": encode(
                tokenizer, with_response(record.conversation, text), config["max_length"]
            )
            for side, text in (("chosen", record.chosen), ("rejected", record.rejected))
        }
        if config["margin"]:
            if record.margin is None:
                raise UserError(
                    f"{config['data']}, row {number} (the first is 0): no margin or preference_strength; set "
                    "judges.bradley_terry.margin to false, or add it to every row"
                )
            row["margin"] = record.margin
        rows.append(row)
    return rows


if __name__ == "__main__":
    run_main(main)
