"""Uploading a model to the Hugging Face hub, with its card and where it comes from; only ever on request.

Environment: HF_TOKEN (the only place a token is read from), HF_ENDPOINT (a hub of one's own).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from grrm.engines import checkpoints
from grrm.engines.model_card import FILE, Metric
from grrm.files import PassingError, UserError, read_json, sha256
from grrm.hub_client import make_hub_client
from grrm.model_folder import check_model
from grrm.urls import read_key, shown, without_secrets

Files: TypeAlias = dict[str, Path | bytes]
"""What is uploaded: names in the repository -> files, or their content."""

PROVENANCE = "provenance"


def model_files(model: Path, summary: Path | None = None, provenance: Path | None = None) -> Files:
    """Everything that is uploaded of a model.

    Args:
        model: folder of a model that was trained here.
        summary: summary.json of the experiment, whose values of this very model go on the card.
        provenance: folder that says what made the experiment; it goes along.

    Raises:
        UserError: the folder is not a complete model, or was not made here.
    """
    check_model(model)
    identity = model / checkpoints.IDENTITY
    if not identity.is_file():
        raise UserError(
            f"{identity}: no such file; only models that were trained here can be described, and pushed"
        )
    files: Files = {
        file.relative_to(model).as_posix(): file
        for file in sorted(model.rglob("*"))
        if file.is_file() and not file.name.startswith(".")
    }
    metrics = measured(model, read_json(summary)) if summary else []
    files[FILE] = checkpoints.card(model.name, read_json(identity), metrics).encode()
    if provenance:
        if not provenance.is_dir():
            raise UserError(f"{provenance}: no such folder")
        for file in sorted(file for file in provenance.rglob("*") if file.is_file()):
            files[f"{PROVENANCE}/{file.relative_to(provenance).as_posix()}"] = file
    return files


def measured(model: Path, summary: Mapping[str, Any]) -> list[Metric]:
    """The values of a summary that were measured with exactly these weights."""
    weights = _digest(model)
    return [
        Metric(
            task=row["task"],
            data=f"{Path(row['data']).stem} ({row['data_sha256'][:12]})",
            name=row["metric"],
            value=row["value"],
            low=row.get("low"),
            high=row.get("high"),
            n=row["n"],
            signature=row["signature"],
        )
        for row in summary.get("scores", [])
        if row.get("weights") == weights
    ]


def upload(repository: str, files: Files, *, private: bool) -> str:
    """Upload files to a repository of models in one commit, made if it is not there; return its address.

    Args:
        repository: owner/name on the hub.
        files: see `model_files`.
        private: of a repository that is made.

    Raises:
        UserError: no token, not allowed, not a name, or the hub cannot be reached.
    """
    token = read_key("HF_TOKEN")
    if not token:
        raise UserError("HF_TOKEN is not set: an upload needs a token that may write to the repository")
    import httpx2
    from huggingface_hub import CommitOperationAdd, HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    make_hub_client()
    api = HfApi(token=token)
    operations = [CommitOperationAdd(name, content) for name, content in files.items()]
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        commit = api.create_commit(
            repository, operations, commit_message=f"GRRM: {len(files)} files of a model with its card"
        )
    except HFValidationError as error:
        raise UserError(f"{repository}: not a repository's name, expected owner/name ({error})") from error
    except OfflineModeIsEnabled as error:
        raise UserError(f"{repository}: HF_HUB_OFFLINE forbids uploading; unset it") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        hint = {
            401: "HF_TOKEN is not accepted: make a new token",
            403: "HF_TOKEN may not write there: give it that right, or choose a repository of your own",
        }.get(status, "try again later")
        raise UserError(
            f"{repository}: {shown(constants.ENDPOINT)} answered {status} ({_line(error)}); {hint}"
        ) from error
    except httpx2.HTTPError as error:
        raise UserError(
            f"{repository}: {shown(constants.ENDPOINT)} cannot be reached ({_line(error)}); check the "
            "network and HF_ENDPOINT"
        ) from error
    except (OSError, RuntimeError, ValueError) as error:  # of whatever uploads large files
        raise PassingError(
            f"{repository}: the upload failed ({_line(error)}); check the network, and that HF_TOKEN may "
            "write there, and run the same command again"
        ) from error
    return str(commit.commit_url)


def _digest(model: Path) -> str:
    """As `grrm.inference` names the weights that gave an answer."""
    digests = "".join(sha256(shard) for shard in sorted(model.glob("*.safetensors")))
    return hashlib.sha256(digests.encode()).hexdigest()


def _line(error: Exception) -> str:
    return without_secrets(next(iter(str(error).strip().splitlines()), type(error).__name__))
