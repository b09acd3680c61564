"""LLaMA-Factory's training with one addition: it stops after a checkpoint when it is asked to (`stop.py`).

Run in LLaMA-Factory's environment, once for each device: `python -m grrm.engines.sft_main config.yaml`.
"""

from __future__ import annotations

from llamafactory.train.tuner import run_exp

from grrm.engines.stop_callback import StopWhenAsked

if __name__ == "__main__":
    run_exp(callbacks=[StopWhenAsked()])
