"""Downloads by the scripts, through the hub's own client, from a local server that speaks its protocol."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from hub_server import TOKEN, HubServer, serve

ROOT = Path(__file__).parents[2]
REPOSITORY = "datasets/owner/sentences"
BIG = b"one row of a table\n" * 20_000
SMALL = b"a card\n"


class Project:
    """A folder with a table of data sets, and the scripts run in it as a user runs them."""

    def __init__(self, folder: Path, hub: HubServer) -> None:
        self.folder, self.hub = folder, hub
        self.env: dict[str, str] = {}
        self.table: dict[str, Any] = {}
        self.add(
            "sentences", {"hub": "owner/sentences", "revision": "main"}, "data/train.parquet", "README.md"
        )

    def add(self, name: str, source: dict[str, str], *files: str, **more: Any) -> None:
        self.table[name] = {
            "description": "Sentences of the test",
            "kind": "dataset",
            "source": source,
            "files": dict.fromkeys(files, None),
            "licence": "see the card",
            "used_by": ["mt_grpo"],
            **more,
        }

    def start(self, script: str, *flags: str) -> subprocess.Popen[str]:
        (self.folder / "datasets.yaml").write_text(yaml.safe_dump(self.table))
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder / "home"),
            "HF_ENDPOINT": self.hub.endpoint,
            "PYTHONPATH": str(ROOT / "scripts"),
            "NO_PROXY": "*",
        }
        command = [
            *(sys.executable, str(ROOT / f"scripts/{script}.py")),
            *("--datasets", "datasets.yaml", "--lock", "lock.yaml"),
            *("--schema", str(ROOT / "config/schemas/datasets.schema.yaml")),
            *("--backoff", "0.01", *flags),
        ]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command, cwd=self.folder, env=env | self.env, stdout=pipe, stderr=pipe, text=True
        )

    def run(self, script: str, *flags: str) -> subprocess.CompletedProcess[str]:
        with self.start(script, *flags) as process:
            out, err = process.communicate(timeout=60)
        assert TOKEN not in out + err
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def lock(self, *flags: str) -> dict[str, Any]:
        result = self.run("lock_data", *flags)
        assert result.returncode == 0, result.stderr
        return self.read_lock()

    def read_lock(self) -> dict[str, Any]:
        found: dict[str, Any] = yaml.safe_load((self.folder / "lock.yaml").read_text())
        return found

    def download(self, *flags: str, name: str = "sentences") -> subprocess.CompletedProcess[str]:
        return self.run("download_dataset", "--name", name, "--output", f"out/{name}", *flags)

    def fails(self, *flags: str, name: str = "sentences") -> str:
        """The message of a download that must fail, and must leave no output."""
        result = self.download(*flags, name=name)
        assert result.returncode == 2, result.stderr
        assert not (self.folder / "out" / name).exists()
        message = result.stderr.strip().splitlines()[-1]
        assert message.startswith("error: ")
        return message

    def files(self, name: str = "sentences") -> dict[str, bytes]:
        folder = self.folder / "out" / name
        return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with serve() as server:
        files = {"data/train.parquet": BIG, "README.md": SMALL, "other.txt": b"not asked for"}
        server.repository(REPOSITORY).commit(files, large=("data/train.parquet",))
        yield server


@pytest.fixture
def project(tmp_path: Path, hub: HubServer) -> Project:
    return Project(tmp_path, hub)


@pytest.fixture
def locked(project: Project) -> Project:
    """A project whose data are locked already, without asking the server for it."""
    repository = project.hub.repository(REPOSITORY)
    files = {"data/train.parquet": BIG, "README.md": SMALL}
    entry = {
        "origin": "owner/sentences",
        "requested": "main",
        "revision": repository.branches["main"],
        "files": {
            file: {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
            for file, content in files.items()
        },
    }
    (project.folder / "lock.yaml").write_text(yaml.safe_dump({"sentences": entry}))
    return project


def test_main_is_locked_to_a_commit_once_with_size_and_hash_of_every_file(project: Project) -> None:
    repository = project.hub.repository(REPOSITORY)
    first = repository.branches["main"]
    lock = project.lock()
    assert lock["sentences"]["revision"] == first
    assert lock["sentences"]["files"] == {
        "README.md": {"sha256": hashlib.sha256(SMALL).hexdigest(), "size": len(SMALL)},
        "data/train.parquet": {"sha256": hashlib.sha256(BIG).hexdigest(), "size": len(BIG)},
    }
    # The hub knows the hash of large files: they are not downloaded to be locked.
    assert project.hub.ranges("train.parquet") == []

    second = repository.commit({"data/train.parquet": b"changed", "README.md": SMALL})
    asked = len(project.hub.requests)
    assert project.lock() == lock
    assert len(project.hub.requests) == asked
    assert project.lock("--update", "sentences")["sentences"]["revision"] == second


def test_locking_goes_on_past_an_entry_that_fails_and_names_it(project: Project) -> None:
    project.add("absent", {"hub": "owner/absent", "revision": "main"}, "train.parquet")
    project.add("no_such_file", {"hub": "owner/sentences", "revision": "main"}, "train.csv")
    project.add("changed", {"hub": "owner/sentences", "revision": "main"}, "README.md")
    project.table["changed"]["files"]["README.md"] = "0" * 64
    project.add("by_pattern", {"hub": "owner/sentences", "revision": "main"}, "*.parquet", "*.md")
    result = project.run("lock_data")
    assert result.returncode == 2
    assert "absent: revision main of owner/absent: it does not exist, or it is private (401;" in result.stderr
    assert "owner/sentences has no file train.csv at commit" in result.stderr
    assert "it has README.md, data/train.parquet, other.txt" in result.stderr
    assert (
        f"changed: README.md at revision {project.hub.repository(REPOSITORY).branches['main']}"
        in result.stderr
    )
    assert project.read_lock().keys() == {"sentences", "by_pattern"}
    assert project.read_lock()["by_pattern"]["files"].keys() == {"README.md", "data/train.parquet"}


def test_a_model_in_no_table_is_locked_and_downloaded_by_its_hub_id(project: Project) -> None:
    repository = project.hub.repository("owner/Judge-0.1B")
    repository.commit({"config.json": b"{}", "model.safetensors": BIG, "optimizer.pt": b"not asked for"})
    name = "models--owner--Judge-0.1B"
    locked = project.lock("--only", name, "sentences")[name]
    assert (locked["origin"], locked["requested"]) == ("owner/Judge-0.1B", "main")
    assert locked["revision"] == repository.branches["main"]
    assert project.download("--record", "out/record.json", name=name).returncode == 0
    assert project.files(name) == {"config.json": b"{}", "model.safetensors": BIG}
    assert json.loads((project.folder / "out/record.json").read_text())["licence"] == "see the card"
    assert name in project.lock(), "it never was in the table, so it does not leave the lock with it"


def test_a_download_has_the_locked_bytes_and_nothing_else(locked: Project) -> None:
    locked.env = {"HF_TOKEN": TOKEN}
    assert locked.download("--record", "out/sentences.json").returncode == 0
    record = json.loads((locked.folder / "out/sentences.json").read_text())
    assert (record["name"], record["licence"]) == ("sentences", "see the card")
    assert record["files"] == locked.read_lock()["sentences"]["files"]
    (locked.folder / "out/sentences.json").unlink()
    assert locked.files() == {"data/train.parquet": BIG, "README.md": SMALL}
    assert sorted(path.name for path in (locked.folder / "out").iterdir()) == ["sentences"]
    # The token goes to the hub, and to the hub only.
    hub_port = int(locked.hub.endpoint.rsplit(":", 1)[1])
    for request in locked.hub.requests:
        sent = request.headers.get("authorization")
        assert sent == (
            f"Bearer {TOKEN}" if request.port == hub_port and "/resolve/" in request.path else sent
        )
        assert request.port == hub_port or sent is None

    asked = len(locked.hub.requests)
    assert locked.download().returncode == 0
    assert len(locked.hub.requests) == asked, "what is there and right is not asked for again"


def test_a_cut_connection_is_continued_inside_the_file(locked: Project) -> None:
    locked.hub.cuts["data/train.parquet"] = [100_000, 50_000]
    assert locked.download().returncode == 0
    assert locked.files()["data/train.parquet"] == BIG
    assert locked.hub.ranges("train.parquet") == [None, "bytes=100000-", "bytes=150000-"]


class CutThenBusy(list[int]):
    """Cuts a file's body at the places of the list; from then on the server is busy."""

    def __init__(self, hub: HubServer, file: str, cut: int, retry_after: dict[str, str]) -> None:
        super().__init__([cut])
        self.hub, self.file, self.retry_after = hub, file, retry_after

    def pop(self, *_: object) -> int:  # type: ignore[override]
        self.hub.answers[self.file] = [(503, self.retry_after)] * 100
        return super().pop()


def test_a_later_run_continues_what_a_failed_one_left(locked: Project) -> None:
    target = "data/train.parquet"
    locked.hub.cuts[target] = CutThenBusy(locked.hub, target, 123_456, {})
    message = locked.fails("--retries", "1")
    assert "the server answered 503 2 times; wait, then run it again" in message
    locked.hub.answers.clear()
    locked.hub.requests.clear()
    assert locked.download().returncode == 0
    assert locked.files()[target] == BIG
    assert locked.hub.ranges("train.parquet") == ["bytes=123456-"]


def test_a_later_run_continues_what_a_killed_one_left(locked: Project) -> None:
    target = "data/train.parquet"
    locked.hub.cuts[target] = CutThenBusy(locked.hub, target, 200_000, {"Retry-After": "100"})
    with locked.start("download_dataset", "--name", "sentences", "--output", "out/sentences") as process:
        deadline = time.monotonic() + 60
        while not any(request.headers.get("range") for request in locked.hub.requests):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert not (locked.folder / "out/sentences").exists()
    locked.hub.answers.clear()
    locked.hub.requests.clear()
    assert locked.download().returncode == 0
    assert locked.files()[target] == BIG
    assert locked.hub.ranges("train.parquet") == ["bytes=200000-"]


def test_a_damaged_remainder_is_thrown_away(locked: Project) -> None:
    part = f".train.parquet.{hashlib.sha256(BIG).hexdigest()[:16]}.part"
    waiting = locked.folder / "out/.sentences.download/data" / part
    waiting.parent.mkdir(parents=True)
    waiting.write_bytes(b"x" * 1000)
    assert locked.download().returncode == 0
    assert locked.files()["data/train.parquet"] == BIG
    assert locked.hub.ranges("train.parquet") == ["bytes=1000-", None]


def test_a_different_byte_is_an_error_that_names_file_expected_and_found(locked: Project) -> None:
    locked.hub.corrupt.add("data/train.parquet")
    message = locked.fails()
    assert "data/train.parquet of owner/sentences at revision" in message
    assert f"expected SHA-256 {hashlib.sha256(BIG).hexdigest()} and {len(BIG)} bytes" in message
    wrong = bytes([BIG[0] ^ 1]) + BIG[1:]
    assert f"found {hashlib.sha256(wrong).hexdigest()} and {len(BIG)} bytes" in message
    assert "lock_data.py --update sentences" in message


def test_a_moved_branch_changes_nothing_and_a_lost_commit_is_told(locked: Project) -> None:
    repository = locked.hub.repository(REPOSITORY)
    old = repository.branches["main"]
    repository.commit({"data/train.parquet": b"changed", "README.md": b"changed"})
    assert locked.download().returncode == 0
    assert locked.files()["README.md"] == SMALL

    shutil.rmtree(locked.folder / "out")
    del repository.commits[old]
    message = locked.fails()
    assert "the repository no longer has that revision" in message
    assert "--update sentences" in message


def test_refusals_say_what_to_do(locked: Project) -> None:
    repository = locked.hub.repository(REPOSITORY)
    repository.private = True
    assert "it is private (401; HF_TOKEN is not set)" in locked.fails()
    locked.env = {"HF_TOKEN": "hf_wrong"}
    assert "HF_TOKEN is not accepted (401): make a new token" in locked.fails()
    locked.env = {"HF_TOKEN": TOKEN}
    repository.gated = True
    message = locked.fails()
    assert "access is gated (403; HF_TOKEN is set, but does not open it)" in message
    assert f"accept the terms on {locked.hub.endpoint}/datasets/owner/sentences" in message
    repository.gated = False
    del repository.commits[repository.branches["main"]]["README.md"]
    assert "README.md at revision" in (message := locked.fails())
    assert "no such file at that revision" in message
    locked.hub.repositories.clear()
    assert "it does not exist, or it is private (404;" in locked.fails()


def test_overload_is_waited_out(locked: Project) -> None:
    busy = [(500, {}), (502, {}), (503, {"Retry-After": "1"}), (429, {})]
    locked.hub.answers["README.md"] = list(busy)
    result = locked.download()
    assert result.returncode == 0, result.stderr
    assert "the server answered 500; again in" in result.stderr
    assert not locked.hub.answers["README.md"]
    assert locked.files()["README.md"] == SMALL


def test_overload_while_locking_is_waited_out(project: Project) -> None:
    project.hub.answers["/revision/main"] = [(429, {"Retry-After": "1"}), (500, {})]
    assert project.lock().keys() == {"sentences"}


def test_offline_takes_the_cache_of_the_hubs_client_and_asks_nothing(locked: Project) -> None:
    cache = locked.folder / "cache"
    repository = locked.hub.repository(REPOSITORY)
    snapshot = cache / "datasets--owner--sentences/snapshots" / repository.branches["main"]
    (snapshot / "data").mkdir(parents=True)
    (snapshot / "README.md").write_bytes(SMALL)
    locked.env = {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(cache)}

    message = locked.fails()
    assert "data/train.parquet" in message
    assert "not in the cache, and HF_HUB_OFFLINE forbids asking for it" in message
    assert "hf download owner/sentences --repo-type dataset" in message

    (snapshot / "data/train.parquet").write_bytes(b"damaged")
    assert f"in {snapshot}/data/train.parquet: it is damaged" in locked.fails()

    (snapshot / "data/train.parquet").write_bytes(BIG)
    assert locked.download().returncode == 0
    assert locked.files() == {"data/train.parquet": BIG, "README.md": SMALL}
    assert locked.hub.requests == []


def test_no_network_is_told_with_the_address(locked: Project) -> None:
    locked.env = {"HF_ENDPOINT": "http://127.0.0.1:9"}
    message = locked.fails("--retries", "0")
    assert "cannot be reached" in message
    assert "check the network and HF_ENDPOINT (http://127.0.0.1:9)" in message


def test_a_damaged_output_is_mended(locked: Project) -> None:
    assert locked.download().returncode == 0
    (locked.folder / "out/sentences/README.md").write_bytes(b"A card\n")
    locked.hub.requests.clear()
    assert locked.download().returncode == 0
    assert locked.files() == {"data/train.parquet": BIG, "README.md": SMALL}
    assert locked.hub.ranges("train.parquet") == []


def test_a_file_with_an_address_needs_no_hub_and_gets_no_token(project: Project) -> None:
    project.hub.repository("plain").commits["-"] = {"v1/set.json": SMALL}
    address = f"{project.hub.endpoint}/plain/{{revision}}/{{file}}"
    project.table.clear()
    project.add("plain", {"url": address, "revision": "v1"}, "set.json")
    project.env = {"HF_TOKEN": TOKEN}
    assert project.lock()["plain"]["files"]["set.json"]["size"] == len(SMALL)
    assert project.download(name="plain").returncode == 0
    assert project.files("plain") == {"set.json": SMALL}
    assert all("authorization" not in request.headers for request in project.hub.requests)


def test_what_is_not_locked_is_not_downloaded(locked: Project) -> None:
    (locked.folder / "lock.yaml").rename(locked.folder / "kept.yaml")
    assert "sentences is not locked; run scripts/lock_data.py --update sentences" in locked.fails()
    (locked.folder / "kept.yaml").rename(locked.folder / "lock.yaml")
    locked.table["sentences"]["source"]["revision"] = "v2"
    assert "was locked with revision 'main', the table now says 'v2'" in locked.fails()
    assert "no data set or model is named 'sentence'" in locked.fails(name="sentence")
    assert locked.hub.requests == []
