"""What train_sft and train_bradley_terry do around their engines: whether it fits, and clear errors.

The engine is stood in for by a small program (tests/engine runs the real ones).
"""

from __future__ import annotations

import json
import struct
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import yaml

import train_bradley_terry
import train_sft
from grrm.engines import checkpoints, resources, sft_main
from grrm.engines.memory import Memory
from grrm.files import PassingError, UserError

NEVER = "pathlib.Path('started').touch()"
both = pytest.mark.parametrize("script", [train_sft, train_bradley_terry])


def write_model(folder: Path, parameters: int = 1000) -> None:
    header = json.dumps({"weight": {"dtype": "F32", "shape": [parameters], "data_offsets": [0, 4]}}).encode()
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"0000")
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer.json").write_text("{}")


@pytest.fixture(autouse=True)
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_model(Path("start"))
    Path("rows.jsonl").write_text("{}\n")
    settings = {"use_cpu": True, "max_steps": 10, "save_steps": 4}
    config = {"model_name_or_path": "start", "output_dir": "working", **settings, "training": settings}
    config |= {"nodes": 1, "gpus_per_node": 1}
    Path("config.yaml").write_text(yaml.safe_dump(config))
    Path("judge.json").write_text("{}")


def run(script: ModuleType, engine: str) -> None:
    python = Path("python").absolute()
    python.write_text(f"#!{sys.executable}\nimport os, pathlib\n{engine}\n")
    python.chmod(0o755)
    script.main(
        [
            *("--config", "config.yaml", "--data", "rows.jsonl", "--python", str(python)),
            *("--model", "model", "--curve", "curve.jsonl", "--card", "judge.json"),
        ]
    )


def disk(monkeypatch: pytest.MonkeyPatch, free: float) -> None:
    monkeypatch.setattr(resources.shutil, "disk_usage", lambda folder: SimpleNamespace(free=int(free)))


@both
def test_an_engine_that_was_killed_is_said_to_be(script: ModuleType) -> None:
    killed = r"(LLaMA-Factory|TRL) was killed from outside \(status -9\), probably for want of memory"
    with pytest.raises(UserError, match=rf"{killed}: this .* has [\d.]+ GB.*The same command resumes"):
        run(script, "os.kill(os.getpid(), 9)")
    with pytest.raises(UserError, match="ended with status 3; the reason stands above in this log"):
        run(script, "os._exit(3)")


@both
def test_what_fails_alike_twice_is_not_worth_another_try(script: ModuleType) -> None:
    with pytest.raises(PassingError, match="ended with status 3"):
        run(script, "os._exit(3)")
    with pytest.raises(UserError, match="So did the launch before, after the same checkpoint") as last:
        run(script, "os._exit(3)")
    assert not isinstance(last.value, PassingError)
    # In another way, or further on, it is.
    with pytest.raises(PassingError, match="was killed from outside"):
        run(script, "os.kill(os.getpid(), 9)")
    save = 'import pathlib; folder = pathlib.Path("working/checkpoint-5"); folder.mkdir(); '
    save += '(folder / "trainer_state.json").write_text(\'{"global_step": 5, "max_steps": 9}\'); '
    with pytest.raises(PassingError, match="was killed from outside"):
        run(script, f"{save}os.kill(os.getpid(), 9)")


def with_adapters(targets: str = "all", width: int = 8) -> None:
    """The model has a layer for them, and the configuration says that they are trained."""
    header = {
        "model.layers.0.q_proj.weight": {"dtype": "F32", "shape": [width, width], "data_offsets": [0, 4]}
    }
    text = json.dumps(header).encode()
    Path("start/model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + b"0000")
    config = yaml.safe_load(Path("config.yaml").read_text())
    lora = {"lora_rank": 4, "lora_alpha": 8, "lora_dropout": 0.0, "lora_target": targets}
    Path("config.yaml").write_text(yaml.safe_dump(config | {"finetuning_type": "lora", "bf16": False} | lora))


def test_a_target_that_the_model_lacks_is_said_before_anything_starts() -> None:
    with_adapters("v_proj")
    with pytest.raises(UserError, match=r"lora.targets has 'v_proj', expected .* of start: q_proj"):
        run(train_sft, NEVER)
    assert not Path("started").exists()
    assert not Path("working").exists()


def test_adapters_that_cannot_be_merged_are_kept_and_merged_by_the_next_call() -> None:
    with_adapters()
    train = "pathlib.Path('working/trainer_state.json').write_text('{\"log_history\": []}')\n"
    train += "pathlib.Path('working/tokenizer.json').write_text('{}')\n"
    calls = "import sys\nmerges = 'grrm.engines.merge_adapters' in sys.argv\n"
    calls += "open('calls', 'a').write(' '.join(sys.argv[2:3] + sys.argv[3:] * merges) + '\\n')\n"
    with pytest.raises(UserError, match="working: its adapters cannot be merged; the reason stands above"):
        run(train_sft, f"{calls}{train}os._exit(3 * merges)")
    assert not Path("model").exists()
    merge = "out = pathlib.Path(sys.argv[-2]); out.mkdir()\n"
    merge += "[(out / name).write_text('{}') for name in ('config.json', 'model.safetensors')]\n"
    run(train_sft, f"{calls}{train}if merges:\n    " + merge.replace("\n", "\n    "))
    found = Path("calls").read_text().splitlines()
    assert [line.split()[0] for line in found] == ["grrm.engines.sft_main", "grrm.engines.merge_adapters"] * 2
    model, adapters, output, dtype = found[-1].split()[1:]
    assert (model, adapters, dtype) == ("start", "working", "float32")
    assert Path(output).name.startswith(".merged")
    names = {"config.json", "model.safetensors", "tokenizer.json", "judge.json", "training.json", "README.md"}
    assert {file.name for file in Path("model").iterdir()} == names


@both
def test_too_little_memory_is_said_before_anything_starts(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources, "memory", lambda: Memory(10**9, 10**9))
    with pytest.raises(
        UserError, match=r"training start needs about 1\.0 GB of memory, this machine has 1\.0"
    ):
        run(script, NEVER)
    assert not Path("started").exists()


@both
def test_memory_that_is_not_free_is_a_warning(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(resources, "memory", lambda: Memory(10**10, 10**8))
    with pytest.raises(UserError, match="ended with status 3"):
        run(script, "os._exit(3)")
    assert "warning: training start needs about 1.0 GB of memory, 0.1 GB are free" in capsys.readouterr().out


@both
def test_a_full_disk_is_said_before_anything_starts(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk(monkeypatch, free=4)
    with pytest.raises(
        UserError, match=r"working: checkpoints and the finished model need about .* free some"
    ):
        run(script, NEVER)
    assert not Path("started").exists()


@pytest.mark.parametrize(
    ("saves", "device", "needed"), [(1, "cpu", 20), (3, "cpu", 44), (9, "cpu", 44), (None, "cuda", 46)]
)
def test_room_is_for_three_checkpoints_at_most(
    monkeypatch: pytest.MonkeyPatch, saves: int | None, device: str, needed: int
) -> None:
    """Of 10^9 parameters; beside them the model at the end, and the one that is published."""
    write_model(Path("large"), parameters=10**9)
    Path("folder").mkdir()
    disk(monkeypatch, free=needed * 10**9)
    resources.check_sft_disk(Path("large"), Path("folder"), device=device, saves=saves)
    disk(monkeypatch, free=needed * 10**9 - 1)
    with pytest.raises(UserError, match=f"need about {needed}.0 GB more"):
        resources.check_sft_disk(Path("large"), Path("folder"), device=device, saves=saves)
    # What an interrupted training has left there makes room for what comes.
    with (Path("folder") / "checkpoint").open("wb") as file:
        file.truncate(1)
    resources.check_sft_disk(Path("large"), Path("folder"), device=device, saves=saves)


def test_checkpoints_are_counted_where_steps_are() -> None:
    assert checkpoints.saves({"max_steps": 10, "save_steps": 4}) == 3
    assert checkpoints.saves({"num_train_epochs": 1.0, "save_steps": 4}) is None


def test_a_training_killed_after_its_last_weights_were_written_starts_anew() -> None:
    """Its only checkpoint is that of the last step, from which there is nothing to resume."""
    state = json.dumps({"global_step": 10, "max_steps": 10})
    engine = f"""
checkpoint = pathlib.Path("working/checkpoint-10")
checkpoint.mkdir()
(checkpoint / "trainer_state.json").write_text({state!r})
pathlib.Path("working/model.safetensors").touch()
os.kill(os.getpid(), 9)
"""
    with pytest.raises(UserError, match="killed from outside"):
        run(train_sft, engine)
    with pytest.raises(UserError, match="ended with status 7"):
        run(train_sft, "os._exit(8 if any(pathlib.Path('working').glob('*.safetensors')) else 7)")


def test_each_process_of_a_machine_holds_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    write_model(Path("large"), parameters=10**9)
    monkeypatch.setattr(resources, "memory", lambda: Memory(20 * 10**9, 20 * 10**9))
    resources.check_sft_memory(Path("large"))
    with pytest.raises(UserError, match=r"needs about 34\.0 GB of memory"):
        resources.check_sft_memory(Path("large"), processes=2)


def test_what_a_training_does_not_use_is_not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "modules", sys.modules.copy())
    for name in ("colorsys", "tabnanny"):
        sys.modules.pop(name, None)
    already = sys.modules["json"]
    sft_main.leave_out(["colorsys", "tabnanny", "json"], ["config.yaml", "report_to=tabnanny"])
    assert find_spec("colorsys") is None
    assert find_spec("tabnanny") is not None
    assert sys.modules["json"] is already
