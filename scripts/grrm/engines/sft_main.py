"""LLaMA-Factory's training with four additions: it stops after a checkpoint when it is asked to (`stop.py`),
goes on from checkpoints on several CPUs too (`cpu_devices.py`), learns no row without its end
(`sft_lengths.py`), and none that verl would render in another way (`sft_rendering.py`).

Run in LLaMA-Factory's environment, once for each device: `python -m grrm.engines.sft_main config.yaml`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from grrm.files import UserError, read_yaml

# Behind its own arguments LLaMA-Factory reads keys of its configuration; this one is ours.
BAD_ROWS = "--bad-rows="
UNUSED = ("wandb", "matplotlib", "ray", "av")
"""What LLaMA-Factory and its libraries import wherever it is installed: more than a third of its start."""


def main() -> None:
    """Train as the arguments say."""
    ours = [argument for argument in sys.argv if argument.startswith(BAD_ROWS)]
    sys.argv = [argument for argument in sys.argv if argument not in ours]
    leave_out(UNUSED, sys.argv)

    from llamafactory.train.tuner import run_exp

    from grrm.engines.cpu_devices import restore_to_numbered_cpus
    from grrm.engines.sft_lengths import heed_lengths
    from grrm.engines.sft_rendering import heed_rendering
    from grrm.engines.step_times import StepTimes
    from grrm.engines.stop_callback import StopWhenAsked

    restore_to_numbered_cpus()
    heed_lengths(ours[-1].removeprefix(BAD_ROWS) if ours else "error")
    try:
        heed_rendering(read_yaml(sys.argv[1]))
        run_exp(callbacks=[StopWhenAsked(), StepTimes()])
    except UserError as error:
        sys.exit(f"error: {error}")


def leave_out(packages: Sequence[str], arguments: Sequence[str]) -> None:
    """Have packages count as not installed in this process, but for the tracker that the arguments name."""
    for name in packages:
        if f"report_to={name}" not in arguments:
            sys.modules.setdefault(name, None)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
