"""Processes forked from one that has imported everything: what they are given, and how they end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from grrm.verl_plugin import fork_client
from grrm.verl_plugin.main_ppo import hydra_string, local_ray_environment

CALLER = """
import json, subprocess, sys, time
import colorsys  # stands for a heavy library
from grrm.verl_plugin import fork_server

server = fork_server.start()
if isinstance(server, fork_server.Job):
    server.run()
    sys.exit()
print(fork_server.interpreter(server), flush=True)
daemon = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print(daemon.pid, flush=True)
time.sleep(600)
"""
REPORT = """
import json, os, sys
print(json.dumps({
    "pid": os.getpid(), "parent": os.getppid(), "arguments": sys.argv, "name": __name__, "path": sys.path[0],
    "folder": os.getcwd(), "variable": os.environ.get("VARIABLE"), "imported": "colorsys" in sys.modules,
    "input": sys.stdin.read(), "home": os.environ.get("HOME"),
}))
print("to stderr", file=sys.stderr)
"""


class Caller:
    """A process that has started a fork server, and an ordinary daemon."""

    def __init__(self, folder: Path) -> None:
        program = folder / "caller.py"
        program.write_text(CALLER)
        self.process = subprocess.Popen([sys.executable, program], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.interpreter = self.process.stdout.readline().split()
        self.daemon = psutil.Process(int(self.process.stdout.readline()))

    def run(self, *command: str | Path, **kwargs: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.interpreter, *map(str, command)], capture_output=True, text=True, timeout=30, **kwargs
        )


@pytest.fixture
def caller(tmp_path: Path):
    instance = Caller(tmp_path)
    yield instance
    instance.process.kill()
    instance.process.wait()


def gone(processes: list[psutil.Process], seconds: float) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    return not alive


def test_a_forked_process_is_given_what_its_client_had(caller: Caller, tmp_path: Path) -> None:
    report, folder = tmp_path / "report.py", tmp_path / "elsewhere"
    report.write_text(REPORT)
    folder.mkdir()
    environment = {"VARIABLE": "a value\nof two lines", "PATH": os.environ["PATH"]}
    done = caller.run(report, "--flag", "x y", cwd=folder, env=environment, input="typed")
    found = json.loads(done.stdout)
    assert found.pop("pid") != found.pop("parent")
    assert found == {
        "arguments": [str(report), "--flag", "x y"],
        "name": "__main__",
        "path": str(tmp_path),
        "folder": str(folder),
        "variable": environment["VARIABLE"],
        "imported": True,
        "input": "typed",
        "home": None,
    }
    assert done.stderr == "to stderr\n"


def test_many_at_once(caller: Caller, tmp_path: Path) -> None:
    report = tmp_path / "report.py"
    report.write_text(REPORT)
    clients = [
        subprocess.Popen([*caller.interpreter, report], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        for _ in range(12)
    ]
    pids = {json.loads(client.communicate(timeout=30)[0])["pid"] for client in clients}
    assert len(pids) == 12


def test_an_error_is_seen(caller: Caller, tmp_path: Path) -> None:
    program = tmp_path / "fails.py"
    program.write_text("raise ValueError('broken')")
    assert "ValueError: broken" in caller.run(program).stderr


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("victim", ["guard", "server", "caller"])
def test_nothing_outlives_the_caller(
    caller: Caller, tmp_path: Path, victim: str, number: signal.Signals
) -> None:
    program = tmp_path / "sleeps.py"
    program.write_text("import os, time; print(os.getpid(), flush=True); time.sleep(600)")
    client = subprocess.Popen([*caller.interpreter, program], stdout=subprocess.PIPE, text=True)
    assert client.stdout is not None
    forked = psutil.Process(int(client.stdout.readline()))
    processes = {
        "guard": psutil.Process(caller.process.pid),
        "server": forked.parent(),
        "caller": caller.daemon.parent(),
    }
    assert len({process.pid for process in processes.values()}) == 3
    processes[victim].send_signal(number)
    killed = victim == "guard" and number == signal.SIGKILL
    assert caller.process.wait(timeout=10) == (-number if killed else 128 + number)
    assert gone([forked, caller.daemon, processes["server"], processes["caller"]], seconds=10)
    client.wait(timeout=10)


def test_the_callers_status_is_passed_on() -> None:
    code = "import sys\nfrom grrm.verl_plugin import fork_server\nfork_server.start()\nsys.exit(7)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 7


def test_without_a_server_the_client_is_an_ordinary_interpreter(tmp_path: Path) -> None:
    report = tmp_path / "report.py"
    report.write_text(REPORT)
    command = [sys.executable, "-I", "-S", fork_client.__file__, "no-such-server", report, "x"]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=30)
    found = json.loads(done.stdout)
    assert found["arguments"] == [str(report), "x"]
    assert not found["imported"]


def test_a_client_imports_little() -> None:
    """It is started for every worker: the heaviest thing it imports is socket."""
    code = "import sys; sys.argv[1:] = ['x']; import runpy; "
    code += f"runpy.run_path({fork_client.__file__!r}); print(len(sys.modules))"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True)
    assert int(done.stdout) < 120


def test_after_ray_it_is_too_late() -> None:
    code = "import ray\nfrom grrm.verl_plugin import fork_server\nfork_server.start()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "before Ray is imported" in done.stderr


def test_the_interpreter_survives_hydras_grammar() -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    for text in ("/a b/python -I x", "it's", 'a"b', "x=[1,{y}]"):
        [override] = OverridesParser.create().parse_overrides([f"+key={hydra_string(text)}"])
        assert override.value() == text


def test_ray_stays_on_this_machine() -> None:
    """With clusters disabled Ray's own address is the loopback interface."""
    code = "import ray; print(ray.util.get_node_ip_address())"
    environment = {**os.environ, **local_ray_environment()}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "127.0.0.1"


def test_every_run_has_its_own_token() -> None:
    first, second = local_ray_environment(), local_ray_environment()
    assert first["RAY_AUTH_MODE"] == "token"
    assert first["RAY_AUTH_TOKEN"] != second["RAY_AUTH_TOKEN"]
