"""What rules ask of a cluster: the table of resources, and how it reaches Slurm."""

from __future__ import annotations

import os
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from configurations import experiment
from grrm.cluster import (
    Request,
    caches,
    load_resources,
    local_rules,
    request,
    requests,
    resources_of_runs,
    snakemake_resources,
)
from grrm.config import scoring_model_of
from grrm.engines.verl import machines, rl_overrides
from grrm.files import UserError
from grrm.preflight.jobs import job, sbatch_arguments

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "config/schemas/resources.schema.yaml"


def table(**changes: Any) -> dict[str, Any]:
    return load_resources(ROOT / "config/resources.yaml", SCHEMA, changes)


def ask(rule: str, *overlays: str, **sections: Any) -> Request:
    config = experiment(*overlays)
    for name, section in sections.items():
        config[name] |= section
    return request(rule, table(), config)


def rules_of_the_workflow() -> set[str]:
    text = "\n".join(file.read_text(encoding="utf-8") for file in (ROOT / "rules").glob("*.smk"))
    return set(re.findall(r"^ *(?:rule|use rule \w+ as) (\w+)(?::| with:)", text, re.M))


def test_every_rule_reads_its_own_line_of_the_table() -> None:
    for file in (ROOT / "rules").glob("*.smk"):
        text = file.read_text(encoding="utf-8")
        parts = re.split(r"^ *(?:rule|use rule \w+ as) (\w+)(?::| with:)", text, flags=re.M)
        for rule, body in zip(parts[1::2], parts[2::2], strict=True):
            if file.name == "targets.smk":  # they gather what other rules make
                assert "shell:" not in body, f"{file.name}, rule {rule}: a rule that runs has another room"
            elif file.name == "train.smk":  # those made of them ask for as much, unless they say
                assert re.search(r'\*\*resources\("(render_\w+|train_mt_\w+)"\)', body), f"rule {rule}"
            else:
                assert f'**resources("{rule}")' in body, f"{file.name}, rule {rule}: no resources"


def test_the_table_names_rules_that_there_are() -> None:
    assert set(table()["rules"]) <= rules_of_the_workflow()


def test_a_rule_that_the_table_does_not_name_gets_the_default() -> None:
    asked = ask("some_new_rule", "paper")
    assert (asked.nodes, asked.gpus, asked.threads, asked.mem_mb, asked.runtime) == (1, 0, 1, 2000, 20)


def test_the_papers_trainings_ask_for_two_machines_of_eight_gpus() -> None:
    for rule in ("train_grrm_sft", "train_grrm_rlvr", "train_mt_sft", "train_mt_grpo"):
        asked = ask(rule, "paper")
        assert (asked.nodes, asked.gpus, asked.resumable) == (2, 8, True), rule
    assert ask("train_mt_grpo", "paper").threads == 64
    assert ask("train_mt_grpo", "paper").mem_mb == 8 * 110_000
    assert ask("train_mt_grpo", "paper", "small", "one_gpu").mem_mb == 110_000


@pytest.mark.parametrize("rule", ["rank_candidates", "translate_segments", "judge_translations"])
def test_a_model_that_answers_gets_the_gpus_it_is_spread_over(rule: str) -> None:
    asked = ask(rule, "paper", evaluate={"gpus": 4})
    assert (asked.nodes, asked.gpus, asked.mem_mb) == (1, 4, 4 * 64_000)
    assert snakemake_resources(asked, experiment("paper")["cluster"])["gres"] == "gpu:4"
    assert ask(rule, "paper").gpus == 1
    assert ask(rule, evaluate={"gpus": 4}).gpus == 0  # without GPUs


def test_a_judge_with_gpus_of_its_own_brings_its_nodes() -> None:
    config = experiment("paper")
    config["mt_grpo"]["reward"] |= {"placement": "dedicated", "nodes": 1, "gpus_per_node": 4}
    asked = request("train_mt_grpo", table(), config)
    assert (asked.nodes, asked.gpus) == (3, 8)


@pytest.mark.parametrize(
    ("own", "nodes"),
    [("grrm", {"mt_grpo": 3, "mt_grpo_bleu": 2}), ("bleu", {"mt_grpo": 2, "mt_grpo_grrm": 3})],
)
def test_every_compared_kind_asks_for_the_nodes_of_its_own_judge(own: str, nodes: dict[str, int]) -> None:
    config = experiment("paper")
    config["mt_grpo"]["reward"] |= {"kind": own, "placement": "dedicated", "nodes": 1, "gpus_per_node": 8}
    config["reward_comparison"] = ["grrm", "bleu"]
    asked = requests("train_mt_grpo", table(), config)
    assert {run: one.nodes for run, one in asked.items()} == nodes
    found = resources_of_runs(asked, config["cluster"])
    for run, wanted in nodes.items():
        values = {name: value(SimpleNamespace(run=run), 1) for name, value in found.items()}  # type: ignore[operator]
        assert (values["nodes"], values["gres"]) == (wanted, "gpu:8")
    # A run of the user's own, as the experiment's.
    assert found["nodes"](SimpleNamespace(run="mt_grpo_again"), 1) == nodes["mt_grpo"]  # type: ignore[operator]
    # Where all ask for the same, nothing depends on wildcards.
    config["mt_grpo"]["reward"]["placement"] = "colocated"
    assert resources_of_runs(requests("train_mt_grpo", table(), config), config["cluster"])["nodes"] == 2


def test_the_judge_of_an_alignment_brings_its_nodes_if_verl_serves_it() -> None:
    config = experiment("paper", "small", "alignment_gpu")
    reward = config["alignment"]["grpo"]["reward"]
    reward |= {"placement": "dedicated", "nodes": 2, "gpus_per_node": 8}
    assert request("train_alignment_grpo", table(), config).nodes == 1  # an endpoint is asked
    reward["model"] = "some/judge"
    assert request("train_alignment_grpo", table(), config).nodes == 3
    reward["placement"] = "colocated"
    assert request("train_alignment_grpo", table(), config).nodes == 1


@pytest.mark.parametrize(
    ("kind", "changes", "nodes"),
    [
        ("grrm", {}, 3),
        ("grrm", {"placement": "endpoint"}, 2),
        ("bleu", {}, 2),
        ("comet", {}, 2),
        ("bradley_terry", {"model": "some/checkpoint"}, 2),
        ("pairwise_dgr", {}, 2),
        ("pairwise_dgr", {"model": "some/judge"}, 3),
    ],
)
def test_nodes_asked_for_are_those_that_verl_uses(kind: str, changes: dict[str, str], nodes: int) -> None:
    config = experiment("paper")
    reward = config["mt_grpo"]["reward"]
    reward |= {"kind": kind, "placement": "dedicated", "nodes": 1, "gpus_per_node": 8, **changes}
    assert request("train_mt_grpo", table(), config).nodes == nodes
    judge = scoring_model_of(reward)
    rendered = rl_overrides(
        config["mt_grpo"],
        **{name: Path(name) for name in ("model", "data", "checkpoints")},
        stage="mt_grpo",
        seed=0,
        judge=Path(judge) if judge else None,
        judge_prompt="prompt.yaml",
        hardware=config["hardware"],
    )
    assert machines(rendered) == nodes


def test_the_demonstration_asks_for_no_gpu() -> None:
    # The demonstration has neither of these sections.
    others = "".join((ROOT / "rules" / name).read_text() for name in ("judges.smk", "alignment.smk"))
    for rule in rules_of_the_workflow() - set(re.findall(r"^ *rule (\w+):", others, re.M)):
        asked = ask(rule)
        assert asked.gpus == 0
        assert "gres" not in snakemake_resources(asked, experiment()["cluster"])


def test_gpus_are_asked_for_by_node_and_by_model() -> None:
    cluster = experiment()["cluster"]
    cluster["gpu"] |= {"partition": "big", "model": "h100", "qos": "long", "constraint": "ib"}
    cluster["account"] = "lab"
    found = snakemake_resources(ask("train_mt_grpo", "paper"), cluster)
    assert found["gres"] == "gpu:h100:8"
    assert found["nodes"] == 2
    assert [found[key] for key in ("slurm_partition", "slurm_account", "qos", "constraint")] == [
        *("big", "lab", "long", "ib")
    ]
    assert found["slurm_extra"] == "--signal=URG@900"
    assert "slurm_partition" not in snakemake_resources(ask("score_rankings", "paper"), cluster)


def test_what_needs_the_internet_may_have_a_partition_and_further_options_are_passed_on() -> None:
    config = experiment("paper")
    cluster = config["cluster"]
    here = local_rules(table(), cluster)
    assert {"download_dataset", "build_environment", "convert_test_set"} <= {*here}
    cluster["network"] |= {"partition": "transfer", "max_runtime": 30, "extra": "--mail-type=FAIL"}
    assert set(here) - set(local_rules(table(), cluster)) == {
        *("lock_data", "fetch_upstream", "download_dataset", "build_environment")
    }
    asked = request("download_dataset", table(), config)
    found = snakemake_resources(asked, cluster)
    assert (asked.kind, asked.runtime, found["slurm_partition"]) == ("network", 30, "transfer")
    assert found["slurm_extra"] == "--mail-type=FAIL"
    cluster["gpu"]["extra"] = "--exclusive --comment='long run'"
    asked = request("train_mt_grpo", table(), config)
    assert snakemake_resources(asked, cluster)["slurm_extra"] == (
        "--exclusive --comment='long run' --signal=URG@900"
    )
    # The preflight asks Slurm for the same.
    assert sbatch_arguments(job("train_mt_grpo", asked, cluster))[-2:] == [
        "--exclusive",
        "--comment=long run",
    ]


def test_caches_do_not_go_to_the_home_folder_of_a_gpu_job() -> None:
    cluster = experiment("paper")["cluster"]
    found = caches(cluster, "cuda", {"VLLM_CACHE_ROOT": "/mine"}, "/tmp")
    assert found["TRITON_CACHE_DIR"] == f"/tmp/grrm-caches-{os.getuid()}/triton"
    assert "VLLM_CACHE_ROOT" not in found and "UV_CACHE_DIR" not in found
    assert caches(cluster, "cpu", {}, "/tmp") == {}
    cluster["scratch"] = "$LOCAL/me"
    named = caches(cluster, "cpu", {"LOCAL": "/nvme"}, "/tmp")
    assert named["UV_CACHE_DIR"] == "/nvme/me/uv" and named["TORCHINDUCTOR_CACHE_DIR"] == "/nvme/me/inductor"
    # Not known on the login node, whose environment a job inherits.
    assert caches(cluster, "cpu", {}, "/tmp") == {}
    inherited = caches(cluster, "cuda", {"UV_CACHE_DIR": "/mine"}, "/tmp")
    assert inherited["TRITON_CACHE_DIR"] == found["TRITON_CACHE_DIR"]
    job = {**inherited, "UV_CACHE_DIR": "/mine", "LOCAL": "/nvme"}
    again = caches(cluster, "cuda", job, "/tmp")
    assert again["TRITON_CACHE_DIR"] == "/nvme/me/triton" and "UV_CACHE_DIR" not in again


def test_what_fails_asks_for_more_but_a_training_goes_on_with_the_same() -> None:
    cluster = experiment()["cluster"]
    cluster["cpu"]["max_runtime"] = 100
    scores = snakemake_resources(ask("score_rankings", "paper"), cluster)
    # Thrice as much at most, whatever `retries` says.
    memory = [scores["mem_mb"]("", attempt) for attempt in (1, 2, 3, 9)]  # type: ignore[operator]
    assert memory == [8000, 16000, 24000, 24000]
    assert [scores["runtime"]("", attempt) for attempt in (1, 2)] == [60, 100]  # type: ignore[operator]
    cluster["cpu"]["max_runtime"] = None
    unlimited = snakemake_resources(ask("score_rankings", "paper"), cluster)
    assert [unlimited["runtime"]("", attempt) for attempt in (1, 9)] == [60, 180]  # type: ignore[operator]
    training = snakemake_resources(ask("train_mt_sft", "paper"), cluster)
    assert training["mem_mb"] == 480_000
    assert training["runtime"] == 1440


def test_a_time_limit_of_the_partition_cuts_the_request_and_leaves_time_to_stop() -> None:
    config = experiment("paper")
    config["cluster"]["gpu"]["max_runtime"] = 20
    asked = request("train_mt_sft", table(), config)
    assert asked.runtime == 20
    assert snakemake_resources(asked, config["cluster"])["slurm_extra"] == "--signal=URG@600"


def test_the_configuration_changes_single_values_of_the_table() -> None:
    changed = table(train_mt_sft={"cuda": {"runtime": 99}}, score_rankings={"mem_gb": 3})
    assert changed["rules"]["train_mt_sft"]["cuda"]["runtime"] == 99
    assert changed["rules"]["train_mt_sft"]["cuda"]["gpus"] == "all"
    assert changed["rules"]["score_rankings"] == {"mem_gb": 3, "runtime": 60}


@pytest.mark.parametrize(
    ("rule", "entry", "words"),
    [
        ("score_rankings", {"memory": 3}, ["unknown key 'rules.score_rankings.memory'", "mem_gb"]),
        ("score_rankings", {"runtime": "2h"}, ["rules.score_rankings.runtime", "'2h'", "integer"]),
        ("train_mt_sft", {"cuda": {"gpus": "most"}}, ["rules.train_mt_sft.cuda.gpus", "'most'", "all"]),
    ],
)
def test_a_wrong_value_is_named(rule: str, entry: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(UserError) as error:
        table(**{rule: entry})
    assert all(word in str(error.value) for word in ["config/resources.yaml", *words]), error.value


def test_threads_may_name_a_key_of_the_configuration_that_must_be_there() -> None:
    changed = table(score_rankings={"threads": "evaluate.threads"})
    with pytest.raises(UserError, match=r"rules\.score_rankings\.threads.*'evaluate\.threads'"):
        request("score_rankings", changed, experiment())


def test_gpus_may_name_a_key_of_the_configuration_that_must_be_there() -> None:
    changed = table(score_segments={"cuda": {"gpus": "evaluate.cards"}})
    with pytest.raises(UserError, match=r"rules\.score_segments\.gpus.*'evaluate\.cards'"):
        request("score_segments", changed, experiment("paper"))


def test_the_profile_keeps_retries_and_the_clusters_names_where_they_belong() -> None:
    profile = yaml.safe_load((ROOT / "slurm/config.v8+.yaml").read_text(encoding="utf-8"))
    assert profile["retries"] > 0
    assert not {"set-resources", "default-resources", "config"} & set(profile)
    for file in (ROOT / "rules").glob("*.smk"):
        assert not re.search(r"^ *retries:\s*[^0\s]", file.read_text(encoding="utf-8"), re.M), file


def test_without_gpus_slurm_gives_a_node_for_each_task() -> None:
    asked = ask("train_mt_sft", hardware={"nodes": 2})
    found = snakemake_resources(asked, experiment()["cluster"])
    assert (found["nodes"], found["tasks"]) == (2, 2)
    assert "tasks" not in snakemake_resources(ask("train_mt_sft", "paper"), experiment()["cluster"])
