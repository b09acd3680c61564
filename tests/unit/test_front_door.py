"""What a visitor meets first: the version, how to cite, the index of the pages, the hooks."""

import re
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from grrm import __version__, cli
from grrm.files import UserError

ROOT = Path(__file__).parents[2]
PAGES = sorted(page.name for page in (ROOT / "docs").glob("*.md") if page.name != "README.md")


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_command_says_its_version(capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main(["--version"])
    assert exit_.value.code == 0
    assert capsys.readouterr().out == f"grrm {__version__}\n"


def test_a_command_imports_itself_and_all_are_listed(monkeypatch, capsys):
    imported = []
    monkeypatch.setattr(cli, "import_module", lambda name: imported.append(name) or import_module(name))
    with pytest.raises(SystemExit, match=r"^0$"):
        cli.main(["compare", "--help"])
    assert imported == ["grrm.commands.compare"]
    capsys.readouterr()
    for words in (["--help"], ["comparison"]):
        with pytest.raises(SystemExit):
            cli.main(words)
        said = "".join(capsys.readouterr())
        assert all(name in said for name in cli.COMMANDS), said


def complete(tmp_path, capsys, *words):
    """What bash offers for the last word."""
    with pytest.raises(SystemExit) as exit_:
        cli.main(["--print-completion", "bash"])
    assert exit_.value.code == 0
    (tmp_path / "completion").write_text(capsys.readouterr().out)
    listed = " ".join(words)
    asked = f". ./completion; COMP_WORDS=({listed}) COMP_CWORD={len(words) - 1}; _shtab_grrm"
    asked += '; echo "${COMPREPLY[@]}"'
    done = subprocess.run(["bash", "-c", asked], cwd=tmp_path, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_bash_completes_commands_options_and_files(tmp_path, capsys):
    assert complete(tmp_path, capsys, "grrm", "ra") == ["rank"]
    assert complete(tmp_path, capsys, "grrm", "fo") == ["forecast"]
    assert "--config" in complete(tmp_path, capsys, "grrm", "forecast", "--co")
    (tmp_path / "segments.tsv").touch()
    assert complete(tmp_path, capsys, "grrm", "translate", "--input", "seg") == ["segments.tsv"]


def test_without_what_completes_the_command_runs_and_says_what_to_install(monkeypatch, capsys):
    """As in the environments of the engines."""
    monkeypatch.setitem(sys.modules, "shtab", None)
    with pytest.raises(UserError, match=r"^shtab is not installed here; run pip install -e '\.' in "):
        cli.main(["--print-completion", "bash"])
    with pytest.raises(SystemExit, match=r"^0$"):
        cli.main(["rank", "--help"])
    assert "--candidate" in capsys.readouterr().out


def test_the_package_has_the_version_of_the_code():
    project = tomllib.loads(read("pyproject.toml"))
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "grrm.__version__"}


def test_the_changelog_begins_with_this_version():
    assert re.search(r"^## (\S+)", read("CHANGELOG.md"), re.MULTILINE)[1] == __version__


def test_the_citation_is_of_this_version_and_prefers_the_paper():
    citation = yaml.safe_load(read("CITATION.cff"))
    assert citation["version"] == __version__
    assert citation["preferred-citation"]["url"] == "https://arxiv.org/abs/2602.14028"
    assert citation["preferred-citation"]["title"] in read("README.md").replace("\n", " ")


@pytest.mark.parametrize("page", PAGES)
def test_the_index_names_every_page(page):
    assert f"({page})" in read("docs/README.md")


@pytest.mark.parametrize(
    "source", ["README.md", "CONTRIBUTING.md", *(f"docs/{page}" for page in ["README.md", *PAGES])]
)
def test_every_link_between_pages_leads_somewhere(source):
    for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", read(source)):
        assert ((ROOT / source).parent / target).exists(), target


def test_the_hooks_run_what_make_lint_runs():
    hooks = [
        hook for repo in yaml.safe_load(read(".pre-commit-config.yaml"))["repos"] for hook in repo["hooks"]
    ]
    programs = {program for hook in hooks for program in re.findall(r"\.venv/bin/(\S+)", hook["entry"])}
    recipe = re.search(r"^lint:.*?\n\n", read("Makefile"), re.MULTILINE | re.DOTALL)[0]
    linted = set(re.findall(r"\$\(BIN\)/(\S+)", recipe)) - {"snakemake"}
    assert programs == linted | {"mypy"}
