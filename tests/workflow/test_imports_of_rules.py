"""With conda and containers a rule's script has the packages of its own lock alone: it starts with them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# What a name in a rule's `conda:` may stand for (rules/common.smk: SFT, RL).
_MODELS = ("train", "rl_cuda", "vllm_cpu")
STAGES = {
    "{SFT}": ("train", "sft_cuda"),
    "{RL}": _MODELS,
    # Of those who ask models here or endpoints (rules/teacher_names.smk).
    "{PROPOSING}": ("driver", *_MODELS),
    "{TEACHING}": ("driver", *_MODELS),
}

# Run by the tests' interpreter: imports every script, with all packages blocked that the lock does not have.
_IMPORT = """
import importlib.metadata, json, pathlib, re, sys

def canonical(name):
    return re.sub("[-_.]+", "-", name).lower()

lock, scripts = sys.argv[1], sys.argv[2:]
locked = re.findall(r"^([A-Za-z0-9._-]+)==", pathlib.Path(lock).read_text(), re.M)
allowed = {canonical(name) for name in locked}
owners = importlib.metadata.packages_distributions()

class Blocker:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in owners and not allowed & {canonical(owner) for owner in owners[top]}:
            raise ModuleNotFoundError(f"No module named {name!r} in {lock}", name=top)

sys.meta_path.insert(0, Blocker())
sys.path.insert(0, "scripts")
failures = {}
for script in scripts:
    try:
        __import__(script)
    except ImportError as error:
        failures[script] = str(error)
print(json.dumps(failures))
"""


def rules_with_software() -> dict[str, set[str]]:
    """Lock -> the scripts that rules run with it."""
    found: dict[str, set[str]] = {}
    known: dict[str, tuple[str, set[str]]] = {}
    # Twice: a rule may be made of one in a later file.
    for path in 2 * sorted((ROOT / "rules").glob("*.smk")):
        for text in re.split(r"^(?=\s*(?:use )?rule )", path.read_text(encoding="utf-8"), flags=re.M):
            if not (rule := re.match(r"\s*(?:use rule (\w+) as|rule) (\w+)", text)):
                continue
            # What it does not say itself is that of the rule it is made of.
            software, scripts = known.get(rule[1], ("", set()))
            if own := re.search(r"conda:\s+(.+)", text):
                given = re.fullmatch(r'f?"\.\./envs/([^"]+)\.yaml"', own[1])
                assert given, f"{path}, {rule[2]}: {own[1]}"
                software = given[1]
            scripts = {*re.findall(r"scripts/(\w+)\.py", text)} or scripts
            assert software or "container:" not in text, f"{path}, {rule[2]}: an image without a lock"
            known[rule[2]] = software, scripts
            for name in STAGES.get(software, (software,)) if software else ():
                found.setdefault(name, set()).update(scripts)
    return found


RULES = rules_with_software()


def imports(lock: Path, scripts: list[str]) -> dict[str, str]:
    """Which scripts cannot be imported with the packages of this lock alone, and why."""
    command = [sys.executable, "-c", _IMPORT, str(lock), *scripts]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    failures: dict[str, str] = json.loads(done.stdout)
    return failures


def test_every_environment_of_a_stage_is_among_them() -> None:
    assert set(RULES) == {"driver", "train", "sft_cuda", "rl_cuda", "vllm_cpu", "comet"}
    assert "train_sft" in RULES["sft_cuda"]
    # With software of its own, but the command of another rule.
    assert "score_segments" in RULES["driver"] and "score_segments" in RULES["comet"]


@pytest.mark.parametrize("environment", sorted(RULES))
def test_scripts_and_the_command_start_with_the_packages_of_a_lock(environment: str) -> None:
    """`grrm` is run where the engine is that it asks, so all of it starts anywhere."""
    commands = [f"grrm.commands.{path.stem}" for path in (ROOT / "scripts/grrm/commands").glob("[!_]*.py")]
    assert "grrm.commands.translate" in commands
    started = [*sorted(RULES[environment]), "grrm.cli", *sorted(commands)]
    assert imports(ROOT / f"envs/{environment}.txt", started) == {}


def test_a_package_that_the_lock_lacks_is_missed(tmp_path: Path) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text("psutil==7.0.0\n", encoding="utf-8")
    assert imports(lock, ["write_config"]) == {"write_config": f"No module named 'yaml' in {lock}"}
