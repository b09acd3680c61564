"""verl's real trainer on a CPU: runs of a tiny model."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from grrm.engines.verl import precision_overrides
from grrm.engines.verl_launch import hydra_arguments
from tiny_model import save_tiny_model

SCRIPTS = Path(__file__).parents[2] / "scripts"
PATIENCE = 15.0  # about 2 s on an idle machine
SETTINGS = """
data.train_batch_size=4 data.val_batch_size=4 data.max_prompt_length=48 data.max_response_length=8
data.dataloader_num_workers=0 data.filter_overlong_prompts=False data.seed=0
actor_rollout_ref.model.use_remove_padding=False actor_rollout_ref.model.enable_gradient_checkpointing=False
+actor_rollout_ref.model.override_config.attn_implementation=sdpa
actor_rollout_ref.actor.strategy=fsdp2
actor_rollout_ref.actor.fsdp_config.dtype=float32
actor_rollout_ref.actor.use_torch_compile=False actor_rollout_ref.actor.fsdp_config.use_torch_compile=False
actor_rollout_ref.actor.optim.lr=1e-3 actor_rollout_ref.actor.ppo_mini_batch_size=4
actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=16 actor_rollout_ref.actor.use_kl_loss=True
actor_rollout_ref.actor._target_=grrm.verl_plugin.losses.GspoSftActorConfig
actor_rollout_ref.actor.policy_loss.loss_mode=gspo_sft +actor_rollout_ref.actor.sft_coef=0.1
actor_rollout_ref.actor.loss_agg_mode=seq-mean-token-mean
actor_rollout_ref.rollout.name=transformers actor_rollout_ref.rollout.dtype=float32
actor_rollout_ref.rollout.tensor_model_parallel_size=1 actor_rollout_ref.rollout.n=4
actor_rollout_ref.rollout.calculate_log_probs=True actor_rollout_ref.rollout.agent.num_workers=1
actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=16
actor_rollout_ref.ref.fsdp_config.dtype=float32
actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu=16
algorithm.adv_estimator=grpo algorithm.norm_adv_by_std_in_grpo=False algorithm.use_kl_in_reward=False
reward.num_workers=1 transfer_queue.backend.SimpleStorage.num_data_storage_units=1
trainer.v1.sampler.custom_sampler.path=pkg://grrm.verl_plugin.sampler
trainer.v1.sampler.custom_sampler.name=FastPollReplayBuffer
trainer.device=cpu trainer.n_gpus_per_node=1 trainer.nnodes=1 trainer.logger=[console]
trainer.val_before_train=False trainer.test_freq=-1 trainer.total_epochs=500 trainer.resume_mode=auto
ray_kwargs.ray_init.num_cpus=8 +ray_kwargs.ray_init.num_gpus=1 +ray_kwargs.ray_init.include_dashboard=False
+ray_kwargs.ray_init._node_ip_address=127.0.0.1 +ray_kwargs.ray_init.object_store_memory=200000000
"""
REWARD = """
def compute_score(data_source, solution_str, ground_truth, extra_info=None, **kwargs):
    return solution_str.count(ground_truth) / max(len(solution_str), 1)
"""

SLOW_REWARD = """
import time

def compute_score(*args, **kwargs):
    print("rewards are being thought about", flush=True)
    time.sleep(600)
"""

JUDGE = """
import asyncio, json, pathlib
from collections import defaultdict
import aiohttp
from verl.experimental.reward_loop.reward_manager.base import RewardManagerBase

class GroupJudge(RewardManagerBase):
    def __init__(self, config, tokenizer, compute_score, reward_router_address, reward_model_tokenizer):
        super().__init__(config, tokenizer, compute_score)
        self.address, self.groups = reward_router_address, defaultdict(list)
        self.calls = pathlib.Path(config.reward.reward_kwargs.calls)

    async def run_single(self, data):
        values = data[0].non_tensor_batch
        future = asyncio.get_running_loop().create_future()
        group = self.groups[values["uid"]]
        group.append(future)
        if len(group) == 4:
            message = {"role": "user", "content": str(values["extra_info"]["index"])}
            body = {"messages": [message], "max_tokens": 4}
            async with aiohttp.ClientSession() as session:
                url = f"http://{self.address}/v1/chat/completions"
                async with session.post(url, json=body) as response:
                    await response.json()
            with self.calls.open("a") as file:
                truth = values["reward_model"]["ground_truth"]
                call = [values["uid"], int(values["global_steps"]), truth, response.status]
                file.write(json.dumps(call) + "\\n")
            for position, member in enumerate(group):
                member.set_result({"reward_score": position / 4, "reward_extra_info": {"place": position}})
        return await future
"""


@dataclass
class Run:
    """One start of the trainer; its processes carry a variable of their own."""

    folder: Path
    steps: int
    overrides: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    mark: str = field(default_factory=lambda: f"RUN_{uuid.uuid4().hex}")

    def __post_init__(self) -> None:
        self.temporary = Path(tempfile.mkdtemp(prefix="grrm-", dir="/tmp"))
        self.log = self.folder / f"{self.mark}.log"
        files = {"train_files": "train.parquet", "val_files": "train.parquet"}
        arguments = [
            *SETTINGS.split(),
            *hydra_arguments(precision_overrides("fp32", reference=True)),
            *(f"data.{key}={self.folder / name}" for key, name in files.items()),
            f"actor_rollout_ref.model.path={self.folder / 'model'}",
            f"reward.custom_reward_function.path={self.folder / 'reward.py'}",
            f"trainer.total_training_steps={self.steps}",
            "trainer.save_freq=2",
            f"trainer.default_local_dir={self.folder / 'checkpoints'}",
            f"+ray_kwargs.ray_init._temp_dir={self.temporary}",
            f"hydra.run.dir={self.temporary}",
            *self.overrides,
        ]
        environment = {
            **os.environ,
            self.mark: "1",
            "PYTHONPATH": str(SCRIPTS),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
            "RAY_prestart_worker_first_driver": "0",
            "TQ_NUM_THREADS": "1",
            **self.environment,
        }
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "grrm.verl_plugin.main_ppo", *arguments],
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def wait_for(self, text: str, seconds: float = 300) -> str:
        deadline = time.monotonic() + seconds
        while text not in (log := self.log.read_text(errors="replace")):
            assert self.process.poll() is None, f"the trainer ended before {text!r}:\n{log[-6000:]}"
            assert time.monotonic() < deadline, f"no {text!r} in the log:\n{log[-6000:]}"
            time.sleep(0.2)
        return log

    def finish(self) -> str:
        status = self.process.wait(timeout=400)
        log = self.log.read_text(errors="replace")
        assert status == 0, log[-6000:]
        return log

    def processes(self) -> list[psutil.Process]:
        """Those with the mark in their environment, and what they have forked."""
        found = {}
        for process in psutil.process_iter():
            try:
                if self.mark in process.environ():
                    for member in (process, *process.children(recursive=True)):
                        found[member.pid] = member
            except psutil.Error:
                continue
        return list(found.values())

    def listening(self) -> set[str]:
        """Addresses that the run's processes listen on."""
        addresses = set()
        for process in self.processes():
            try:
                connections = process.net_connections(kind="inet")
            except psutil.Error:
                continue
            addresses |= {c.laddr.ip for c in connections if c.status == psutil.CONN_LISTEN}
        return addresses

    def clean(self) -> None:
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.temporary, ignore_errors=True)


def metric(log: str, name: str) -> list[float]:
    return [float(value) for value in re.findall(rf"{re.escape(name)}:(?:np\.\w+\()?([-+.\de]+)", log)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    save_tiny_model(folder / "model", tied=True)
    (folder / "reward.py").write_text(REWARD)
    rows = [
        {
            "data_source": "toy",
            "prompt": [{"role": "user", "content": f"frog {i}"}],
            "ability": "none",
            "reward_model": {"style": "rule", "ground_truth": "e"},
            "extra_info": {"index": i, "split": "train"},
        }
        for i in range(16)
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "train.parquet")
    return folder


@pytest.fixture(scope="module")
def first(folder: Path) -> Iterator[str]:
    """Two steps to the end."""
    run = Run(folder, steps=2)
    try:
        log = run.finish()
        _, alive = psutil.wait_procs(run.processes(), timeout=10)
        assert not alive
        yield log
    finally:
        run.clean()


def test_two_steps(first: str) -> None:
    assert "step:1 " in first
    assert "step:2 " in first


def test_server_and_actor_agree_on_the_probability_of_every_token(first: str) -> None:
    differences = metric(first, "training/rollout_probs_diff_max")
    assert len(differences) == 2
    assert max(differences) <= 1e-6


def test_the_added_loss_and_the_reference_policy_take_part(first: str) -> None:
    assert len(metric(first, "actor/sft_loss")) == 2
    kl = metric(first, "actor/kl_loss")
    assert kl[0] == pytest.approx(0, abs=1e-6)
    assert kl[1] != kl[0]


def test_a_checkpoint(first: str, folder: Path) -> None:
    assert (folder / "checkpoints" / "latest_checkpointed_iteration.txt").read_text() == "2"
    assert list((folder / "checkpoints" / "global_step_2" / "actor").glob("model_world_size_1_rank_0.pt"))


def dies_without_a_trace(run: Run, number: signal.Signals) -> None:
    before = run.processes()
    assert len(before) > 8
    run.process.send_signal(number)
    _, alive = psutil.wait_procs(before, timeout=PATIENCE)
    assert not alive, run.log.read_text(errors="replace")[-3000:]
    assert not run.processes()


def test_it_goes_on_after_the_checkpoint_and_can_be_killed(first: str, folder: Path) -> None:
    run = Run(folder, steps=1000)
    try:
        log = run.wait_for("step:3 ")
        assert "step:1 " not in log
        assert metric(log, "training/rollout_probs_diff_max")[0] <= 1e-6
        assert run.listening() <= {"127.0.0.1", "::ffff:127.0.0.1"}
        dies_without_a_trace(run, signal.SIGKILL)
    finally:
        run.clean()


def test_a_killed_rollout_worker_ends_the_training(folder: Path) -> None:
    """Killed while its rollouts are rewarded: verl would wait for them for ever."""
    (folder / "slow.py").write_text(SLOW_REWARD)
    overrides = f"""
        trainer.v1.sampler.custom_sampler.path=pkg://grrm.verl_plugin.step_sampler
        trainer.v1.sampler.custom_sampler.name=WatchingReplayBuffer
        reward.custom_reward_function.path={folder / "slow.py"}
        actor_rollout_ref.actor.use_kl_loss=False trainer.save_freq=-1 trainer.resume_mode=disable
    """
    run = Run(folder, 1000, overrides.split())
    try:
        run.wait_for("rewards are being thought about")
        titles = {process: " ".join(process.cmdline()) for process in run.processes()}
        (worker,) = [process for process, title in titles.items() if "AgentLoopWorker" in title]
        worker.kill()
        assert run.process.wait(timeout=120) != 0
        log = run.log.read_text(errors="replace")
        assert re.search(r"RuntimeError: processes of the training ended: agent_loop_worker_0", log)
    finally:
        run.clean()


def test_a_judge_beside_the_trainer_sees_whole_groups(folder: Path) -> None:
    """One call per group, with what makes it a group; then the run is asked to end."""
    (folder / "judge.py").write_text(JUDGE)
    overrides = f"""
        trainer.v1.trainer_mode=sync_group_reward trainer.resume_mode=disable
        actor_rollout_ref.actor.use_kl_loss=False trainer.save_freq=-1
        reward.reward_manager.source=importlib reward.reward_manager.name=GroupJudge
        reward.reward_manager.module.path={folder / "judge.py"}
        reward.reward_model.enable=True reward.reward_model.model_path={folder / "model"}
        reward.reward_model.rollout.name=transformers reward.reward_model.rollout.dtype=float32
        reward.reward_model.rollout.tensor_model_parallel_size=1
        +reward.reward_kwargs.calls={folder / "calls.jsonl"}
    """
    modules = "grrm.verl_plugin.register,grrm.verl_plugin.colocated"
    run = Run(folder, 1000, overrides.split(), {"VERL_USE_EXTERNAL_MODULES": modules})
    try:
        log = run.wait_for("step:2 ")
        calls = [json.loads(line) for line in (folder / "calls.jsonl").read_text().splitlines()]
        assert [call[1] for call in calls[:8]] == [1] * 4 + [2] * 4
        assert len({call[0] for call in calls[:8]}) == 8
        assert {(truth, status) for _, _, truth, status in calls} == {("e", 200)}
        assert metric(log, "critic/score/mean")[0] == pytest.approx((0 + 1 + 2 + 3) / 16)
        dies_without_a_trace(run, signal.SIGTERM)
    finally:
        run.clean()
