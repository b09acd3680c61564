"""LLaMA-Factory's training with four additions: it stops after a checkpoint when it is asked to (`stop.py`),
goes on from checkpoints on several CPUs too (`cpu_devices.py`), learns no row without its end
(`sft_lengths.py`), and none that verl would render in another way (`sft_rendering.py`).

Run in LLaMA-Factory's environment, once for each device: `python -m grrm.engines.sft_main config.yaml`.
"""

from __future__ import annotations

import sys

from llamafactory.train.tuner import run_exp

from grrm.engines.cpu_devices import restore_to_numbered_cpus
from grrm.engines.sft_lengths import heed_lengths
from grrm.engines.sft_rendering import heed_rendering
from grrm.engines.step_times import StepTimes
from grrm.engines.stop_callback import StopWhenAsked
from grrm.files import UserError, read_yaml

# Behind its own arguments LLaMA-Factory reads keys of its configuration; this one is ours.
BAD_ROWS = "--bad-rows="


def main() -> None:
    """Train as the arguments say."""
    ours = [argument for argument in sys.argv if argument.startswith(BAD_ROWS)]
    sys.argv = [argument for argument in sys.argv if argument not in ours]
    restore_to_numbered_cpus()
    heed_lengths(ours[-1].removeprefix(BAD_ROWS) if ours else "error")
    try:
        heed_rendering(read_yaml(sys.argv[1]))
        run_exp(callbacks=[StopWhenAsked(), StepTimes()])
    except UserError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
