"""Plot the training curves of a stage."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from grrm.files import UserError, atomic_path
from grrm.process import run_main
from grrm.report.curves import Curve, read_curves, smooth

# Okabe and Ito's palette: told apart with any colour vision, and in grey.
_RAW, _SMOOTH = "#56B4E9", "#000000"
_COLUMNS = 3
_FORMATS = {".svg", ".png"}


def main(argv: list[str] | None = None) -> None:
    """Write one figure with a panel per metric."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--curve", type=Path, required=True, help="metrics of every step (JSON lines)")
    parser.add_argument("--title", required=True, help="of the figure")
    parser.add_argument("--output", type=Path, required=True, help="figure to write (.svg or .png)")
    args = parser.parse_args(argv)

    if args.output.suffix not in _FORMATS:
        raise UserError(f"--output {args.output}: expected a name that ends in .svg or .png")
    plot(read_curves(args.curve), args.title, args.output)


def plot(curves: Sequence[Curve], title: str, output: Path) -> None:
    """Write a figure; the same curves give the same bytes.

    Args:
        curves: one per panel.
        title: of the whole figure.
        output: its ending decides the format.
    """
    columns = min(_COLUMNS, len(curves))
    rows = -(-len(curves) // columns)
    with plt.rc_context({"svg.hashsalt": "grrm", "svg.fonttype": "none", "font.size": 9}):
        figure, axes = plt.subplots(
            rows, columns, figsize=(4 * columns, 2.6 * rows + 0.5), squeeze=False, layout="constrained"
        )
        for axis in axes.flat[len(curves) :]:
            axis.remove()
        for axis, curve in zip(axes.flat, curves, strict=False):
            _panel(axis, curve)
        figure.suptitle(title)
        with atomic_path(output) as partial:
            metadata = {"Date": None} if output.suffix == ".svg" else {"Software": None}
            figure.savefig(partial, format=output.suffix[1:], dpi=120, metadata=metadata)
        plt.close(figure)


def _panel(axis: plt.Axes, curve: Curve) -> None:
    window = len(curve.values) // 20 * 2 + 1
    marker = "o" if len(curve.values) < 3 else None
    axis.plot(curve.steps, curve.values, color=_RAW, linewidth=1.0, marker=marker, label="as logged")
    if window > 1:
        smoothed = smooth(curve.values, window)
        axis.plot(curve.steps, smoothed, color=_SMOOTH, linewidth=1.5, label=f"mean of {window} values")
        axis.legend(fontsize=7, frameon=False)
    axis.set_title(curve.title, fontsize=9)
    axis.set_xlabel("step")
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    run_main(main)
