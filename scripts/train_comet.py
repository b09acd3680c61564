"""Train the tiny COMET checkpoint that stands in for a published one."""

from __future__ import annotations

from grrm.metrics.comet import train_tiny
from grrm.metrics.tiny import run_training
from grrm.process import run_main


def main(argv: list[str] | None = None) -> None:
    """Write the checkpoint folder, whole."""
    run_training(train_tiny, __doc__, argv)


if __name__ == "__main__":
    run_main(main)
