"""What `import verl` finds registered, and the errors of a verl that is not the one written against."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import verl  # noqa: F401  (registers the plug-in)

from grrm.verl_plugin.compatibility import (
    SUPPORTED_VERL,
    IncompatibleVerlError,
    check_signature,
    check_verl_version,
)


def test_the_rollout_is_known_to_workers_and_to_the_server_manager() -> None:
    from verl.workers.rollout.base import get_rollout_class
    from verl.workers.rollout.replica import get_rollout_replica_class

    from grrm.verl_plugin.rollout import TransformersReplica, WeightPusher

    assert get_rollout_class("transformers", "async") is WeightPusher
    assert get_rollout_replica_class("transformers") is TransformersReplica


def test_the_supported_version_passes() -> None:
    check_verl_version()
    check_verl_version(SUPPORTED_VERL)


@pytest.mark.parametrize("found", ["0.9.2", "0.9.1.dev0", "0.7.0", "none"])
def test_another_version_is_an_error_that_says_what_to_do(found: str) -> None:
    with pytest.raises(IncompatibleVerlError) as caught:
        check_verl_version(found)
    message = str(caught.value)
    assert SUPPORTED_VERL in message
    assert f"found {found}" in message
    assert f"Install verl=={SUPPORTED_VERL}" in message


def test_another_version_stops_the_import_of_verl(tmp_path: Path) -> None:
    """A stand-in distribution of another version, found before the installed one."""
    stand_in = tmp_path / "verl-0.9.2.dist-info"
    stand_in.mkdir()
    (stand_in / "METADATA").write_text("Metadata-Version: 2.1\nName: verl\nVersion: 0.9.2\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", "import verl"],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode != 0
    assert f"needs verl {SUPPORTED_VERL}, found 0.9.2" in done.stderr


def test_a_changed_function_is_named_with_both_signatures() -> None:
    def initialize(timeout_second: int, device: str) -> None: ...

    with pytest.raises(IncompatibleVerlError) as caught:
        check_signature(initialize, ["timeout_second", "backend"], "verl/utils/distributed.py")
    message = str(caught.value)
    for part in ("verl/utils/distributed.py", "initialize", "device", "backend", "reinstall"):
        assert part in message


def test_without_the_cpu_platform_nothing_is_patched() -> None:
    """On GPUs the rollout and the loss are offered, but verl's own functions stay."""
    code = (
        "import verl, verl.utils.distributed as d, verl.utils.fsdp_utils as f\n"
        "from verl.plugin.platform.platform_manager import PlatformRegistry\n"
        "assert 'cpu' not in PlatformRegistry.registered_names()\n"
        "assert not hasattr(d.initialize_global_process_group_ray, '__wrapped__')\n"
        "assert not hasattr(f.CPUOffloadPolicy, '__wrapped__')\n"
    )
    environment = {**os.environ, "VERL_PLATFORM": "nvidia"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
