"""What train_rl does around verl: resume, one curve from several attempts, publish, clear errors.

verl itself is stood in for by a small program that keeps the same files (tests/engine runs the real one).
"""

import json
import os
import shutil
import struct
import sys
import textwrap
import zipfile
from itertools import product
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

import train_rl
from grrm.engines import resources, verl_runs
from grrm.files import UserError, read_jsonl
from grrm.rewards.group import STOP_MARK
from grrm.slurm import steps

STEPS = 4


def write_model(folder, parameters=1000):
    header = json.dumps({"weight": {"dtype": "F32", "shape": [parameters], "data_offsets": [0, 4]}}).encode()
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"0000")
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer.json").write_text("{}")


@pytest.fixture
def stage(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_model(Path("start"))
    pq.write_table(pa.table({"prompt": ["x"] * 8}), "rows.parquet")
    config = {
        "actor_rollout_ref.model.path": "start",
        "data.train_files": "rows.parquet",
        "data.train_batch_size": 4,
        "data.max_response_length": 8,
        "trainer.total_training_steps": STEPS,
        "trainer.default_local_dir": "checkpoints",
        "trainer.device": "cpu",
    }
    Path("config.yaml").write_text(yaml.safe_dump(config))
    return tmp_path


ENGINE = """
    import json, os, pathlib, sys
    if "main_ppo" not in " ".join(sys.argv):
        sys.exit(0)  # the check of the published model
    if {killed} == -1:
        os._exit(1)
    if {killed} == -9:
        os.kill(os.getpid(), 9)
    work, metrics = pathlib.Path("checkpoints"), open(os.environ["VERL_FILE_LOGGER_PATH"], "w")
    tracker = work / "latest_checkpointed_iteration.txt"
    start = int(tracker.read_text()) if tracker.exists() else 0
    for step in range(start + 1, {steps} + 1):
        actor = work / f"global_step_{{step}}/actor/huggingface"
        actor.mkdir(parents=True)
        if step == {killed}:
            metrics.close()
            print("{last_words}", flush=True)
            os._exit(1)
        for name in ("config.json", "tokenizer.json"):
            (actor / name).write_text(f"step {{step}}")
        (actor / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{{}}")
        (actor.parent.parent / "data.pt").write_bytes(b"data")
        tracker.write_text(str(step))
        row = {{"step": step, "data": {{"reward": step / 10, "start": start, "text": "x"}}}}
        print(json.dumps(row), file=metrics, flush=True)
        print(f"(TaskRunner pid=1) step:{{step}} - critic/score/mean:0.5 - timing_s/step:2.0", flush=True)
"""


def run(killed=0, last_words="(TaskRunner pid=7) ValueError: no luck", steps=STEPS, arguments=()):
    engine = Path("python").absolute()
    code = ENGINE.format(steps=steps, killed=killed, last_words=last_words)
    engine.write_text(f"#!{sys.executable}\n{textwrap.dedent(code)}")
    engine.chmod(0o755)
    train_rl.main(
        [
            *["--config", "config.yaml", "--data", "rows.parquet", "--python", str(engine)],
            *["--model", "model", "--curve", "curve.jsonl", *arguments],
        ]
    )


def test_a_training_is_published_with_its_curve(stage, capfd):
    run()
    assert (stage / "model/config.json").read_text() == "step 4"
    assert [row["step"] for row in read_jsonl("curve.jsonl")] == [1, 2, 3, 4]
    assert read_jsonl("curve.jsonl")[0] == {"step": 1, "reward": 0.1, "start": 0}
    assert "step 3 of 4: mean reward 0.500, 2.0 s, about 2 s left" in capfd.readouterr().out


def test_a_training_over_several_machines_joins_the_cluster_that_is_there(stage, monkeypatch):
    config = yaml.safe_load(Path("config.yaml").read_text()) | {"trainer.nnodes": 2}
    Path("config.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    # Without Slurm there is no allocation in which to start one.
    run()
    assert (stage / "model/config.json").read_text() == "step 4"


def test_every_run_has_a_token_of_its_own(stage, monkeypatch):
    keep = 'open("tokens", "a").write(os.environ["RAY_AUTH_MODE"] + os.environ["RAY_AUTH_TOKEN"] + chr(10))'
    code = ENGINE.replace("work, metrics =", f"{keep}\n    work, metrics =", 1)
    monkeypatch.setattr(sys.modules[__name__], "ENGINE", code)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "that of another cluster")
    with pytest.raises(UserError):
        run(killed=3)
    run()
    first, second = Path("tokens").read_text().split()
    assert first.startswith("token") and first != second and len(first) == len("token") + 64


def test_an_interrupted_training_goes_on_after_its_last_complete_checkpoint(stage):
    with pytest.raises(UserError, match=r"ValueError: no luck.*goes on after step 2"):
        run(killed=3)
    assert not (stage / "model").exists()
    assert not (stage / "curve.jsonl").exists()
    run()
    rows = read_jsonl("curve.jsonl")
    assert [(row["step"], row["start"]) for row in rows] == [(1, 0), (2, 0), (3, 2), (4, 2)]
    assert (stage / "model/config.json").read_text() == "step 4"


def test_older_checkpoints_go_once_a_newer_one_is_complete(stage):
    with pytest.raises(UserError):
        run(killed=3)
    assert [
        folder.name for folder in stage.glob("checkpoints/global_step_*") if (folder / "data.pt").exists()
    ] == ["global_step_2"]


def test_models_of_wanted_steps_are_kept_and_their_checkpoints_go(stage):
    with pytest.raises(UserError):
        run(killed=3, arguments=("--keep", "1", "3"))
    run(arguments=("--keep", "1", "3"))
    kept = stage / "checkpoints/kept"
    assert {path.name: (path / "config.json").read_text() for path in kept.iterdir()} == {
        "1": "step 1",
        "3": "step 3",
    }
    assert [folder.name for folder in stage.glob("checkpoints/global_step_*")] == ["global_step_4"]


def test_a_finished_training_cannot_keep_models_afterwards(stage):
    run()
    with pytest.raises(UserError, match=r"steps \[2\] of evaluate\.checkpoints were not kept .* has 4 steps"):
        run(killed=-1, arguments=("--keep", "2"))


def test_a_finished_training_is_not_repeated(stage):
    run()
    (stage / "model/model.safetensors").unlink()
    run(killed=-1)  # would fail if it were started
    assert (stage / "model/config.json").read_text() == "step 4"


def test_a_training_whose_checkpoints_were_taken_away_is_done_anew(stage):
    run()
    shutil.rmtree("checkpoints")
    with pytest.raises(UserError, match="verl ended with status 1"):
        run(killed=-1)
    run()
    assert [row["start"] for row in read_jsonl("curve.jsonl")] == [0] * STEPS


def test_a_training_killed_after_its_last_checkpoint_is_only_published(stage):
    run()
    (stage / "checkpoints/finished").unlink()
    run(killed=-1)
    assert len(read_jsonl("curve.jsonl")) == STEPS


def test_checkpoints_of_another_configuration_are_refused(stage):
    with pytest.raises(UserError):
        run(killed=3)
    config = yaml.safe_load(Path("config.yaml").read_text())
    Path("config.yaml").write_text(yaml.safe_dump({**config, "actor_rollout_ref.actor.optim.lr": 0.1}))
    with pytest.raises(UserError, match=r"checkpoints: .*optim\.lr.*move the folder away"):
        run()


def test_an_engine_that_ends_early_without_an_error_is_not_believed(stage):
    with pytest.raises(UserError, match=r"its last checkpoint in checkpoints is of step 2, expected 4"):
        run(steps=2)


def reconfigure(**changes):
    config = yaml.safe_load(Path("config.yaml").read_text())
    Path("config.yaml").write_text(yaml.safe_dump({**config, **changes}))


EPOCHS = {"trainer.total_training_steps": None, "trainer.total_epochs": 2}


def test_epochs_end_after_as_many_steps_as_the_rows_give(stage):
    reconfigure(**EPOCHS)
    with pytest.raises(UserError, match="is of step 3, expected 4"):  # 2 x 8 rows, 4 a step
        run(steps=3)
    run()
    assert len(read_jsonl("curve.jsonl")) == STEPS


def test_rows_that_are_left_out_shorten_the_epochs(stage):
    reconfigure(**EPOCHS, **{"data.filter_overlong_prompts": True})
    run(steps=3)
    assert len(read_jsonl("curve.jsonl")) == 3
    assert (stage / "model/config.json").read_text() == "step 3"
    (stage / "model/model.safetensors").unlink()
    run(killed=-1)
    assert (stage / "model/config.json").read_text() == "step 3"


def test_without_flash_attention_torchs_own_is_used(stage, capfd):
    key = "+actor_rollout_ref.model.override_config.attn_implementation"
    config = {key: "flash_attention_2"}
    assert train_rl._with_attention(config, str(executable("exit 1"))) == {key: "sdpa"}
    assert "flash-attn cannot be imported" in capfd.readouterr().out
    assert train_rl._with_attention(config, str(executable("exit 0"))) == config
    assert Path("asked").read_text().splitlines() == ["-c import flash_attn"] * 2


def executable(end):
    program = Path(f"python_{end[-1]}").absolute()
    program.write_text(f'#!/bin/sh\necho "$@" >> asked\n{end}\n')
    program.chmod(0o755)
    return program


def test_the_forks_curve_is_read_from_its_console(stage, monkeypatch):
    config = yaml.safe_load(Path("config.yaml").read_text())
    del config["trainer.device"]
    config |= {"reward_model.reward_manager": "dapo", "custom_reward_function.path": "reward_utils/x.py"}
    Path("config.yaml").write_text(yaml.safe_dump(config))
    Path("verl").mkdir()
    monkeypatch.setattr(
        sys.modules[__name__], "ENGINE", ENGINE.replace('os.environ["VERL_FILE_LOGGER_PATH"]', "os.devnull")
    )
    run(arguments=["--fork", "verl"])
    assert read_jsonl("curve.jsonl")[1] == {"step": 2, "critic/score/mean": 0.5, "timing_s/step": 2.0}


def test_a_configuration_for_the_fork_needs_the_fork_and_no_other_does(stage):
    with pytest.raises(UserError, match=r"config\.yaml: --fork belongs to a configuration for the fork"):
        run(arguments=["--fork", "verl"])


def test_too_many_failed_judgements_end_the_run_with_their_own_words(stage):
    with pytest.raises(UserError, match=r"^33 of the last 64 judgements failed$"):
        run(killed=3, last_words=f"(RewardLoopWorker pid=7) {STOP_MARK} 33 of the last 64 judgements failed")


def test_a_function_that_fails_on_the_first_row_ends_the_run_before_anything_is_claimed(stage):
    """The engine here stands in for the interpreter that tries it: it is told what to try, and fails."""
    config = yaml.safe_load(Path("config.yaml").read_text())
    config |= {"+reward.reward_kwargs.kind": "function", "+reward.reward_kwargs.function": "mine.py:score"}
    Path("config.yaml").write_text(yaml.safe_dump(config))
    Path("mine.py").write_text("def score(group): ...")
    Path("python").write_text(
        "#!/bin/sh\nprintf '%s ' \"$@\" > asked\necho 'error: mine.py:score: no score'\nexit 2\n"
    )
    Path("python").chmod(0o755)
    arguments = [
        "--config",
        "config.yaml",
        "--data",
        "rows.parquet",
        "--python",
        str(Path("python").absolute()),
    ]
    with pytest.raises(UserError, match=r"^reward: the function cannot be used: mine\.py:score: no score$"):
        train_rl.main([*arguments, "--model", "model", "--curve", "curve.jsonl"])
    assert '"function": "mine.py:score"' in Path("asked").read_text()
    assert not Path("checkpoints").exists()
    run()  # repaired, it is another training, which nothing is in the way of
    assert (stage / "model/config.json").read_text() == "step 4"


def test_a_tokenizer_that_does_not_fit_ends_the_run_before_anything_is_claimed(stage):
    Path("python").write_text(
        "#!/bin/sh\nprintf '%s ' \"$@\" > asked\necho 'error: start: it has 5 tokens, the model 4'\nexit 2\n"
    )
    Path("python").chmod(0o755)
    files = [
        "--config",
        "config.yaml",
        "--data",
        "rows.parquet",
        "--model",
        "model",
        "--curve",
        "curve.jsonl",
    ]
    said = r"^the model cannot be trained: start: it has 5 tokens, the model 4$"
    with pytest.raises(UserError, match=said):
        train_rl.main([*files, "--python", str(Path("python").absolute())])
    asked = "-m grrm.engines.try_rendering --data rows.parquet --model start --judge "
    assert Path("asked").read_text() == asked
    assert not Path("checkpoints").exists()


def test_fewer_rows_than_a_step_takes_are_refused(stage):
    pq.write_table(pa.table({"prompt": ["x"] * 3}), "rows.parquet")
    with pytest.raises(UserError, match=r"rows\.parquet: has 3 rows, a step takes 4"):
        run()


def test_a_machine_that_is_too_small_is_named_with_numbers(stage):
    write_model(Path("giant"), parameters=10**15)
    with pytest.raises(UserError, match=r"giant needs about [\d.]+ GB of memory, this .* has [\d.]+ GB"):
        resources.check_rl_memory(Path("giant"), [])
    error = r"two checkpoints .* need about 36000000\.0 GB more, [\d.]+ GB are free"
    with pytest.raises(UserError, match=error):
        resources.check_rl_disk(Path("giant"), stage / "start", stage)


def test_an_engine_that_was_killed_is_said_to_be(stage):
    with pytest.raises(UserError, match=r"killed from outside \(status -9\).*want of memory: this .* GB"):
        run(killed=-9)
    with pytest.raises(UserError, match=r"verl ended with status 1; it reported no error\. The whole output"):
        run(killed=-1)


def test_temporary_folders_of_killed_runs_are_removed(stage, monkeypatch):
    monkeypatch.setattr(train_rl.tempfile, "gettempdir", lambda: "t")
    Path("t").mkdir()
    with train_rl._temporary_folder() as own:
        name = own.name.removesuffix(str(os.getpid()))
    gone, alive, same = (Path(f"t/{name}{pid}") for pid in (2**22 + 1, os.getppid(), os.getpid()))
    for folder in (gone, alive, same):
        folder.mkdir()
    (same / "left by a killed run").touch()
    with train_rl._temporary_folder() as own:
        assert list(own.iterdir()) == []
        assert not gone.exists()
    assert alive.exists()
    assert not own.exists()


def test_temporary_folders_that_a_run_on_another_machine_has_here_stay(stage, monkeypatch):
    monkeypatch.setattr(train_rl.tempfile, "gettempdir", lambda: "t")
    Path("t").mkdir()
    # The first machine of one training is n1, of the other n2; both have the process number of this test.
    monkeypatch.setattr(train_rl.socket, "gethostname", lambda: "n2")
    with train_rl._temporary_folder() as foreign:
        gone = foreign.with_name(foreign.name.replace(str(os.getpid()), str(2**22 + 1)))
        gone.mkdir()
        monkeypatch.setattr(train_rl.socket, "gethostname", lambda: "n1")
        with train_rl._temporary_folder() as own:
            assert own != foreign
            assert foreign.exists()
            assert gone.exists()


def test_a_long_folder_is_linked_and_rays_session_lies_in_it(stage, monkeypatch, tmp_path):
    long = tmp_path / "a folder for temporary files of a job"
    long.mkdir()
    monkeypatch.setattr(train_rl.tempfile, "gettempdir", lambda: str(long))
    with train_rl._temporary_folder() as folder:
        assert folder.parent == Path("/tmp") and folder.stat().st_mode & 0o777 == 0o700
        (folder / "session").touch()
        assert [path.name for path in long.glob("*/*")] == ["session"]
        # The other machines make theirs in the same way.
        command = steps.on_machine("n2", ["true"], temporary=folder)
        assert command[command.index("--storage") + 1] == str(long)
    assert not folder.is_symlink() and list(long.iterdir()) == []


def test_rays_sockets_fit_whatever_the_process_number(stage, monkeypatch):
    base = Path("t" * train_rl._LONGEST_BASE)
    base.mkdir()
    monkeypatch.setattr(train_rl.tempfile, "gettempdir", lambda: str(base))
    monkeypatch.setattr(train_rl.os, "getpid", lambda: 2**22)
    with train_rl._temporary_folder() as folder:
        assert folder.parent == base
        assert len(f"{folder}/session_2026-01-01_00-00-00_000000_{2**22}/sockets/plasma_store.1") <= 107


# ---------------------------------------------------------------- checkpoints


def write_checkpoint(working, step, complete=True):
    (working / f"global_step_{step}/actor").mkdir(parents=True)
    if complete:
        (working / f"global_step_{step}/data.pt").write_bytes(b"data")


@pytest.mark.parametrize(
    ("complete", "incomplete", "tracker", "expected"),
    [
        ([], [], None, None),
        ([], [2], None, None),  # killed in the first checkpoint
        ([2], [4], "2", 2),  # killed in the second
        ([2, 4], [], "2", 2),  # killed before the tracker was written
        ([2, 4], [], "", 4),  # killed while it was written
        ([2, 4], [], "4", 4),
        ([], [], "4", None),  # somebody removed the checkpoints
        ([3], [], "4", 3),  # or that one
        ([3], [4], "4", 3),  # or a part of it
        ([3], [], None, 3),  # or the tracker
        ([3], [], "4\n5", 3),
        ([3], [], "\u0664", 3),
    ],
)
def test_only_the_last_complete_checkpoint_is_left(tmp_path, complete, incomplete, tracker, expected):
    for step in complete:
        write_checkpoint(tmp_path, step)
    for step in incomplete:
        write_checkpoint(tmp_path, step, complete=False)
    if tracker is not None:
        (tmp_path / "latest_checkpointed_iteration.txt").write_text(tracker)
    assert verl_runs.prepare_resume(tmp_path) == expected
    left = [folder.name for folder in tmp_path.glob("global_step_*")]
    assert left == ([f"global_step_{expected}"] if expected else [])
    assert verl_runs.last_complete_step(tmp_path) == expected


WEIGHTS = "actor/huggingface/model.safetensors"


@pytest.mark.parametrize(
    ("left_out", "how"),
    [
        *product(("data.pt", "actor/optim_world_size_2_rank_1.pt"), ("gone", "torn", "empty")),
        (WEIGHTS, "torn"),
        (WEIGHTS, "empty"),
    ],
)
def test_a_checkpoint_of_which_a_part_is_gone_or_torn_is_not_whole(tmp_path, left_out, how):
    for step in (2, 4):
        write_checkpoint(tmp_path, step)
        folder = tmp_path / f"global_step_{step}"
        ranks = [f"world_size_2_rank_{rank}.pt" for rank in (0, 1)]
        parts = [f"actor/{part}_{rank}" for part in ("model", "optim") for rank in ranks]
        for name in ("data.pt", *parts):
            with zipfile.ZipFile(folder / name, "w") as archive:
                archive.writestr("data", "x" * 100)
        write_model(folder / "actor/huggingface")
    assert verl_runs.last_complete_step(tmp_path) == 4
    damaged = tmp_path / "global_step_4" / left_out
    damaged.write_bytes(damaged.read_bytes()[:-3] if how == "torn" else b"")
    if how == "gone":
        damaged.unlink()
    (tmp_path / "latest_checkpointed_iteration.txt").write_text("4")
    assert verl_runs.prepare_resume(tmp_path) == 2


def test_a_model_survives_a_kill_after_it_was_moved_out_of_its_checkpoint(tmp_path):
    """As such a kill leaves them: the model of step 2 in kept/, the rest of its checkpoint in place."""
    for step in (2, 4):
        write_checkpoint(tmp_path, step)
    (tmp_path / "latest_checkpointed_iteration.txt").write_text("4")
    write_model(verl_runs.kept_model(tmp_path, 2))
    for _ in range(2):
        assert verl_runs.prepare_resume(tmp_path, keep=[2]) == 4
        assert (verl_runs.kept_model(tmp_path, 2) / "model.safetensors").is_file()
        assert [folder.name for folder in tmp_path.glob("*global_step_*")] == ["global_step_4"]


def test_a_checkpoint_that_is_half_removed_is_none_and_goes(tmp_path, monkeypatch):
    for step in (2, 4):
        write_checkpoint(tmp_path, step)
    (tmp_path / "latest_checkpointed_iteration.txt").write_text("4")

    def killed(folder):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(verl_runs.shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            verl_runs.prepare_resume(tmp_path)
    assert [folder.name for folder in tmp_path.glob("global_step_*")] == ["global_step_4"]
    verl_runs.prepare_resume(tmp_path)
    assert [folder.name for folder in tmp_path.glob(".*")] == []


# ---------------------------------------------------------------- attempts


def test_the_later_attempt_wins_and_a_line_cut_off_does_not_count(tmp_path):
    def log(name, rows, rest=""):
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows) + rest)
        return path

    first = log("1", [{"step": step, "data": {"a": 1}} for step in (1, 2, 3)], rest='{"step": 4, "da')
    second = log("2", [{"step": step, "data": {"a": 2}} for step in (3, 4)])
    merged = verl_runs.merge_metrics([first, second, tmp_path / "never_written"])
    assert [(row["step"], row["a"]) for row in merged] == [(1, 1), (2, 1), (3, 2), (4, 2)]


def test_what_has_no_value_in_a_step_keeps_its_key_and_is_null(tmp_path):
    (tmp_path / "1").write_text(
        '{"step": 1, "data": {"score": null, "entropy": NaN, "text": "x"}}\n'
        '{"step": 2, "data": {"score": 3, "entropy": 0.5, "text": "x"}}\n'
    )
    assert verl_runs.merge_metrics([tmp_path / "1"]) == [
        {"step": 1, "score": None, "entropy": None},
        {"step": 2, "score": 3, "entropy": 0.5},
    ]


def test_a_validation_on_resuming_adds_to_the_row_of_its_step(tmp_path):
    first, second = tmp_path / "1", tmp_path / "2"
    first.write_text('{"step": 1, "data": {"loss": 0.5}}\n')
    second.write_text('{"step": 1, "data": {"validation": 0.7}}\n')
    assert verl_runs.merge_metrics([first, second]) == [{"step": 1, "loss": 0.5, "validation": 0.7}]


def test_no_response_was_cut_off_where_none_is_as_long_as_may_be():
    def row(longest, ratio):
        return {"step": 1, "response_length/max": longest, "response_length/clip_ratio": ratio}

    rows = [row(505.0, 0.25), row(512.0, 0.25), {"step": 1, "loss": 0.5}]
    assert verl_runs.correct_clip_ratios(rows, 512) == [row(505.0, 0.0), *rows[1:]]


def test_steps_that_were_trained_but_never_recorded_are_named():
    validated = {"step": 4, "val-core/ranking/acc/mean@1": 0.5}
    rows = [{"step": 0, "val-aux/x": 0.5}, {"step": 1, "loss": 1.0}, {"step": 3, "loss": 1.0}, validated]
    assert verl_runs.unrecorded(rows, 4) == [2, 4]


def test_judgements_of_a_step_done_twice_come_from_the_later_attempt(tmp_path):
    first, second = tmp_path / "1", tmp_path / "2"
    first.write_text('{"step": 1, "uid": "a"}\n{"step": 1, "uid": "b"}\n{"step": 2, "uid": "c"}\n')
    second.write_text('{"step": 2, "uid": "d"}\n{"step": 2, "uid": "e"}\n')
    assert [row["uid"] for row in verl_runs.merge_judgements([first, second])] == ["a", "b", "d", "e"]
    second.write_bytes(second.read_bytes() + '{"step": 2, "uid": "你'.encode()[:-1])  # killed while it wrote
    assert [row["uid"] for row in verl_runs.merge_judgements([first, second])] == ["a", "b", "d", "e"]


# ---------------------------------------------------------------- reading along


def test_an_actor_that_died_is_named(stage):
    died = "ray.exceptions.ActorDiedError: The actor died unexpectedly before finishing this task."
    lines = [
        died,
        "\tclass_name: EndingServer",
        "\tpid: 650",
        "\tname: vllm_server_reward_0_0",
        "\tip: 127.0.0.1",
    ]
    prefix = "(TaskRunnerV1 pid=7) "
    with pytest.raises(UserError, match=r"ActorDiedError: .* this task \(vllm_server_reward_0_0\)"):
        run(killed=3, last_words="\\n".join(prefix + line.replace("\t", "\\t") for line in lines))
    assert verl_runs.actor_in("class_name: EndingServer") is None


@pytest.mark.parametrize(
    ("line", "exception"),
    [
        ("ValueError: no", "ValueError: no"),
        ("\x1b[36m(TaskRunnerV1 pid=12, ip=127.0.0.1)\x1b[0m KeyError: 'uid'", "KeyError: 'uid'"),
        (
            "ray.exceptions.RayTaskError(KeyError): ray::run() (pid=1)",
            "ray.exceptions.RayTaskError(KeyError): ray::run() (pid=1)",
        ),
        ("  raise ValueError('no')", None),
        ("an Error in the text", None),
        ("error_if_nonfinite: True", None),
    ],
)
def test_reported_exceptions(line, exception):
    assert verl_runs.exception_in(line) == exception


@pytest.mark.parametrize(
    ("line", "report"),
    [
        (
            "step:2 - global_seqlen/min:4 - critic/score/mean:-1.5e-01 - timing_s/step:61.0",
            "step 2 of 4: mean reward -0.150, 61.0 s, about 2 min left",
        ),
        (
            "(T pid=1) step:4 - critic/score/mean:np.float64(0.25) - timing_s/step:np.float64(3.5)",
            "step 4 of 4: mean reward 0.250, 3.5 s",
        ),
        ("Training Progress:  25%| 1/4", None),
    ],
)
def test_progress(line, report):
    assert verl_runs.progress(line, 4, first=False) == report


def test_the_first_step_of_a_launch_says_nothing_about_the_time_left():
    assert verl_runs.progress("step:1 - timing_s/step:35.0", 4, first=True) == "step 1 of 4, 35.0 s"
