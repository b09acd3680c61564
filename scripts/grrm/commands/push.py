"""`grrm push`: upload a trained model to the Hugging Face hub."""

from __future__ import annotations

import argparse
from pathlib import Path

from grrm.report.upload import model_files, upload

HELP = "upload a trained model with its card and provenance to the Hugging Face hub (HF_TOKEN, HF_ENDPOINT)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("model", type=Path, help="folder of the model: results/<experiment>/models/<stage>")
    parser.add_argument("repository", help="where to: owner/name; it is made if it is not there")
    parser.add_argument("--private", action="store_true", help="make a private repository")
    parser.add_argument("--dry-run", action="store_true", help="say what would be uploaded, and send nothing")
    parser.add_argument(
        "--summary",
        type=Path,
        help="summary.json with its evaluation (default: the experiment's, if it is there)",
    )
    parser.add_argument(
        "--provenance", type=Path, help="folder to upload with it (default: the experiment's, if it is there)"
    )


def run(args: argparse.Namespace) -> None:
    """Upload, or say what would be."""
    experiment = args.model.absolute().parent.parent
    summary = args.summary or _if_there(experiment / "summary.json")
    provenance = args.provenance or _if_there(experiment / "provenance")
    files = model_files(args.model, summary, provenance)
    for name, content in files.items():
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        print(f"{name}: {size} bytes")
    if args.dry_run:
        kind = "private" if args.private else "public"
        print(f"dry run: {len(files)} files would go to {args.repository} ({kind} if it is new)")
    else:
        print(upload(args.repository, files, private=args.private))


def _if_there(path: Path) -> Path | None:
    return path if path.exists() else None
