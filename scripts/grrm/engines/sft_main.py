"""LLaMA-Factory's training with two additions: it stops after a checkpoint when it is asked to (`stop.py`),
and goes on from checkpoints on several CPUs too (`cpu_devices.py`).

Run in LLaMA-Factory's environment, once for each device: `python -m grrm.engines.sft_main config.yaml`.
"""

from __future__ import annotations

from llamafactory.train.tuner import run_exp

from grrm.engines.cpu_devices import restore_to_numbered_cpus
from grrm.engines.stop_callback import StopWhenAsked

if __name__ == "__main__":
    restore_to_numbered_cpus()
    run_exp(callbacks=[StopWhenAsked()])
