"""The authors' prompts out of a checkout of their repository. The checkout here has the form of theirs and
sentences of its own.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import fetch_upstream
from grrm.data.checkout import Pin, clone, load_pin, read_sources, write_lock
from grrm.files import UserError
from grrm.prompts import (
    dump_prompt,
    gqm_prompt,
    load_pointwise_prompt,
    load_ranking_prompt,
    load_translation_prompt,
    sqm_prompt,
    translation_prompt,
    upstream_pointwise_prompt,
    upstream_ranking_prompt,
    upstream_translation_prompt,
)
from grrm.upstream import FILES, GROUP_FILE, NAMES_FILE, POINTWISE_FILE, TRANSLATION_FILE, parse_upstream

SCHEMA = Path(__file__).parents[2] / "config/schemas/upstream.schema.yaml"
needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")

# Every file begins with something that must not happen: their code is read, never run.
TRAP = "import no_such_module_anywhere\nraise SystemExit('this was run')\n"
NAMES = """
LANG_MAP = {
    "en": "English",
    "zh": "Chinese",
    "de": "German",
}

TABLES = {
    "a": {"path": None, "size": 3},
}

candidate_identifiers = ["A", "B", "C"]
"""
GROUP = '''
Output_example = {
    "score": "End it so: `A: 1, B: 2`.",
    "ranking": "End it so: `B > A`.",
    "ranking_score": "End it so: `B > A`, then `B: 2, A: 1`.",
}

Task_format = {
    "score": "Now " + "score.",
    "ranking": "Now rank.",
    "ranking_score": "Now do both."
}

prompt_template = """From {} to {}: which is best? {}

Here it is:
```
{}
```

{}"""

candidate_prompt = """Number {}:
```
{}
```
"""


def get_prompt(source_lang, target_lang, source_text, mt_texts, prompt_format, add_example=False):
    task = Task_format[prompt_format]
    if add_example:
        task += f" {Output_example[prompt_format]}"
    shown = "".join(candidate_prompt.format(*pair) for pair in zip(candidate_identifiers, mt_texts))
    return prompt_template.format(source_lang, target_lang, task, source_text, shown)
'''
POINTWISE = '''
promt_template = """How good, {} to {}?
{}
--
{}
"""
'''
TRANSLATION = '''
def get_prompt(
    prompt_type, src_lang, trg_lang, src_text, trg_token: Optional[str] = None
):

    if len(src_lang) == 2:
        src_lang = LANG_MAP[src_lang]
    if len(trg_lang) == 2:
        trg_lang = LANG_MAP[trg_lang]
        trg_token = trg_lang
    if prompt_type == "line" or prompt_type == "line.last":
        src_text = src_text.replace("\\n", " ")
        return f"{src_lang}: {src_text}\\n{trg_lang}:"
    elif prompt_type == "tagged":
        assert trg_token is not None, "a tag is needed"
        return f"Put {src_text} into <{trg_token}>"
    elif prompt_type == "codeblock-think":
        return f"""Carry this over from {src_lang} to {trg_lang}, thoughtfully.

```
{src_text}
```
"""
    elif prompt_type == "nested":
        outer = (
            "You are asked: "
            "{}\\n"
        )
        inner = f"Into {trg_lang}, {{}}!"
        question = inner.format(src_text)
        return outer.format(question)
    elif prompt_type == "shouted":
        return src_text.upper()
    else:
        raise NotImplementedError
'''
BODIES = {GROUP_FILE: GROUP, POINTWISE_FILE: POINTWISE, TRANSLATION_FILE: TRANSLATION, NAMES_FILE: NAMES}
SOURCES = {file: (TRAP + body).encode() for file, body in BODIES.items()}
UPSTREAM = parse_upstream(SOURCES)
CODES = ["en", "zh", "de"]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def run(file: str) -> dict[str, Any]:
    """What the code of the synthetic checkout defines when it is run."""
    scope: dict[str, Any] = {"Optional": list}
    exec(NAMES + BODIES[file], scope)
    return scope


THEIRS = {file: run(file) for file in BODIES}
texts = st.text() | st.lists(
    st.sampled_from(["{", "}", "{}", "{0}", "{source}", "{{", "%s", "\\", "\n", "\r", "```", "你好", " "])
).map("".join)
codes = st.sampled_from(CODES)
names = st.sampled_from([*CODES, "English", "Klingon"])


def parse_with(file: str, body: str) -> Any:
    return parse_upstream({**SOURCES, file: body.encode()})


# What their functions return


@given(
    names,
    names,
    texts,
    st.lists(texts, min_size=2, max_size=3),
    st.sampled_from([*UPSTREAM.tasks]),
    st.booleans(),
)
def test_gqm_prompt(source, target, text, candidates, kind, example):
    arguments = (source, target, text, candidates, kind, example)
    assert gqm_prompt(*arguments, upstream=UPSTREAM) == THEIRS[GROUP_FILE]["get_prompt"](*arguments)


@given(
    st.sampled_from(["line", "line.last", "tagged", "codeblock-think", "nested"]), names, names, texts, texts
)
def test_translation_prompt(kind, source, target, text, token):
    arguments = (kind, source, target, text, token)
    expected = THEIRS[TRANSLATION_FILE]["get_prompt"](*arguments)
    assert translation_prompt(*arguments, upstream=UPSTREAM) == expected


@given(names, names, texts, texts)
def test_sqm_prompt(source, target, text, translation):
    expected = THEIRS[POINTWISE_FILE]["promt_template"].format(source, target, text, translation)
    assert sqm_prompt(source, target, text, translation, upstream=UPSTREAM) == expected


@pytest.mark.parametrize("n", [0, 1, 4])
def test_gqm_prompt_has_labels_for_so_many(n):
    with pytest.raises(ValueError, match=f"{n} candidates; .* 2 to 3"):
        gqm_prompt("a", "b", "s", ["t"] * n, "score", upstream=UPSTREAM)


def test_gqm_prompt_of_an_unknown_format():
    with pytest.raises(ValueError, match=r"'essay'; expected one of score, ranking, ranking_score"):
        gqm_prompt("a", "b", "s", ["t", "u"], "essay", upstream=UPSTREAM)


def test_translation_prompt_of_an_unknown_type():
    with pytest.raises(ValueError, match=r"'essay'; expected one of line, "):
        translation_prompt("essay", "en", "de", "s", upstream=UPSTREAM)


def test_translation_prompt_without_the_tag_that_it_needs():
    with pytest.raises(ValueError, match="trg_token must be given"):
        translation_prompt("tagged", "en", "Klingon", "s", upstream=UPSTREAM)


def test_a_language_without_a_name():
    with pytest.raises(UserError, match=r"no name for the language 'sw'; they have de, en, zh"):
        translation_prompt("line", "en", "sw", "s", upstream=UPSTREAM)


# As prompts like any other


@given(
    codes,
    codes,
    texts,
    st.lists(texts, min_size=2, max_size=3),
    st.sampled_from([*UPSTREAM.tasks]),
    st.booleans(),
)
def test_the_ranking_prompt_renders_the_same(source, target, text, candidates, kind, example):
    prompt = upstream_ranking_prompt(UPSTREAM, kind, add_example=example)
    assert prompt.render(src_text=text, mt_texts=candidates, src_lang=source, trg_lang=target) == gqm_prompt(
        UPSTREAM.language(source),
        UPSTREAM.language(target),
        text,
        candidates,
        kind,
        example,
        upstream=UPSTREAM,
    )


@given(codes, codes, texts, texts)
def test_the_other_prompts_render_the_same(source, target, text, translation):
    prompt = upstream_translation_prompt(UPSTREAM)
    assert prompt.render(src_text=text, src_lang=source, trg_lang=target) == translation_prompt(
        "codeblock-think", source, target, text, upstream=UPSTREAM
    )
    pointwise = upstream_pointwise_prompt(UPSTREAM)
    assert pointwise.render(
        src_text=text, mt_text=translation, src_lang=source, trg_lang=target
    ) == sqm_prompt(
        UPSTREAM.language(source), UPSTREAM.language(target), text, translation, upstream=UPSTREAM
    )


@pytest.mark.parametrize(
    ("prompt", "load"),
    [
        (upstream_ranking_prompt(UPSTREAM), load_ranking_prompt),
        (upstream_translation_prompt(UPSTREAM), load_translation_prompt),
        (upstream_pointwise_prompt(UPSTREAM), load_pointwise_prompt),
    ],
)
def test_a_prompt_file_of_theirs_loads_as_it_was(tmp_path, prompt, load):
    path = tmp_path / "prompt.yaml"
    path.write_text(dump_prompt(prompt), encoding="utf-8")
    assert load(path) == prompt


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        # A place that our templates would fill, where theirs has text.
        (GROUP_FILE, "which is best?", "which {{source}} is best?"),
        (GROUP_FILE, '```\n"""\n\n\ndef', '```"""\n\n\ndef'),
        (NAMES_FILE, '"German"', '"Teutonic"'),
    ],
)
def test_what_no_prompt_file_can_say_is_an_error(file, old, new):
    assert old in BODIES[file]
    upstream = parse_with(file, BODIES[file].replace(old, new))
    with pytest.raises(UserError, match="cannot be written as a prompt file"):
        upstream_ranking_prompt(upstream)


# Reading their source


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        (GROUP_FILE, "prompt_template =", "other =", ["prompt_template is not there"]),
        (GROUP_FILE, '"Now " + "score."', "load('score')", ["load('score')"]),
        (GROUP_FILE, '"Now rank."', "Missing[0]", ["`Missing` is no"]),
        (GROUP_FILE, '"Now rank."', 'f"{Output_example!r}"', ["is no expression"]),
        (GROUP_FILE, '"Now rank."', "3", ["Task_format is not a table of texts"]),
        (GROUP_FILE, "Here it is", "Here {} it is", ["prompt_template has 6 bare {}; expected 5"]),
        (GROUP_FILE, "Here it is", "Here {0} it is", ["prompt_template has None bare {}"]),
        (GROUP_FILE, "Number {}", "Number {:>9999}", ["candidate_prompt has None bare {}"]),
        (
            GROUP_FILE,
            "def get_prompt",
            "Task_format = {}\ndef get_prompt",
            ["Task_format is set more than once"],
        ),
        (GROUP_FILE, '    "ranking": "Now rank.",\n', "", ["tasks for", "output examples for"]),
        (GROUP_FILE, "Output_example = {", "Output_example = {{", ["not Python source"]),
        (NAMES_FILE, '["A", "B", "C"]', '"ABC"', ["candidate_identifiers is not a list of texts"]),
        (NAMES_FILE, '["A", "B", "C"]', "list('ABC')", ["list('ABC')"]),
        (TRANSLATION_FILE, "def get_prompt", "def make_prompt", ["0 functions get_prompt"]),
        (TRANSLATION_FILE, "prompt_type, src_lang", "kind, src_lang", ["get_prompt takes", "'kind'"]),
        (TRANSLATION_FILE, 'prompt_type == "tagged"', "prompt_type.islower()", ["islower"]),
    ],
)
def test_a_form_that_is_not_read_is_named_with_its_file(file, old, new, words):
    assert old in BODIES[file]
    with pytest.raises(UserError) as caught:
        parse_with(file, BODIES[file].replace(old, new, 1))
    assert all(word in str(caught.value) for word in [file, *words])


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        (GROUP_FILE, '"Now rank."', "load('rank')"),
        (NAMES_FILE, '["A", "B", "C"]', "list('ABC')"),
        (TRANSLATION_FILE, 'prompt_type == "tagged"', "prompt_type.islower()"),
    ],
)
def test_what_is_not_read_is_named_with_its_line(file, old, new):
    line = BODIES[file][: BODIES[file].index(old)].count("\n") + 1
    with pytest.raises(UserError, match=rf"{file}, line {line}: `{re.escape(new)}`"):
        parse_with(file, BODIES[file].replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ("thoughtfully.", "{open('x').read()}", "open('x').read()"),
        ("{src_text}\n```", "{src_text:>99}\n```", "is no expression"),
        ('return f"""Carry', 'import os\n        return f"""Carry', "`import os` is not read"),
        ('return f"""Carry', 'f"""Carry', "is not read"),
    ],
)
def test_a_branch_that_is_not_read_is_an_error_when_it_is_asked_for(old, new, word):
    assert old in TRANSLATION
    upstream = parse_with(TRANSLATION_FILE, TRANSLATION.replace(old, new, 1))
    assert translation_prompt("line", "en", "de", "s", upstream=upstream) == "English: s\nGerman:"
    with pytest.raises(UserError) as caught:
        translation_prompt("codeblock-think", "en", "de", "s", upstream=upstream)
    assert word in str(caught.value)
    # The f-string begins on this line; Python before 3.12 gives its whole to this line.
    begins = TRANSLATION[: TRANSLATION.index('return f"""Carry')].count("\n") + 1
    line = re.match(rf"{TRANSLATION_FILE}, line (\d+): ", str(caught.value))
    assert line
    assert begins <= int(line[1]) <= begins + 5


def test_only_what_is_listed_is_called():
    with pytest.raises(UserError, match=r"run_mt\.py, line \d+: `src_text\.upper\(\)`"):
        translation_prompt("shouted", "en", "de", "s", upstream=UPSTREAM)


# The checkout


def sums() -> dict[str, str]:
    return {file: hashlib.sha256(source).hexdigest() for file, source in SOURCES.items()}


def write_checkout(folder: Path) -> Path:
    for file, source in SOURCES.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(source)
    return folder


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=x", "-c", "user.email=x@example.org", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def write_repository(folder: Path) -> str:
    write_checkout(folder)
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "first")
    return git(folder, "rev-parse", "HEAD")


def unknown(repository: Path | str, commit: str = COMMIT) -> Pin:
    return Pin(str(repository), commit, dict.fromkeys(FILES))


def write_pin(path: Path, pin: Pin) -> Path:
    content = {"repository": pin.repository, "commit": pin.commit, "files": dict(pin.files)}
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def test_the_pin_of_the_workflow_names_every_file_that_is_read():
    root = SCHEMA.parents[1]
    pin = load_pin(root / "upstream.yaml", SCHEMA, root / "no.lock.yaml")
    assert set(pin.files) == set(FILES)


def test_sources_with_the_right_sums(tmp_path):
    pin = Pin("r", COMMIT, sums())
    assert read_sources(write_checkout(tmp_path), pin) == SOURCES


def test_other_bytes(tmp_path):
    write_checkout(tmp_path)
    (tmp_path / NAMES_FILE).write_bytes(b"LANG_MAP = {}\n")
    with pytest.raises(UserError) as caught:
        read_sources(tmp_path, Pin("r", COMMIT, sums()))
    found = hashlib.sha256(b"LANG_MAP = {}\n").hexdigest()
    words = [str(tmp_path / NAMES_FILE), found, sums()[NAMES_FILE], COMMIT]
    assert all(word in str(caught.value) for word in words)


def test_no_checkout(tmp_path):
    with pytest.raises(
        UserError, match=r"run_rm_GQM\.py: cannot be read .* expected a checkout of r at 0123"
    ):
        read_sources(tmp_path / "none", unknown("r"))


@needs_git
def test_the_commit_of_a_checkout_is_asked_as_long_as_a_sum_is_unknown(tmp_path):
    commit = write_repository(tmp_path)
    assert read_sources(tmp_path, unknown("r", commit)) == SOURCES
    with pytest.raises(UserError, match=f"is at commit {commit}, expected {COMMIT}: git -C"):
        read_sources(tmp_path, unknown("r"))
    (tmp_path / NAMES_FILE).write_bytes(b"")
    with pytest.raises(UserError, match=r"has local changes .*utils/config\.py"):
        read_sources(tmp_path, unknown("r", commit))


def test_a_folder_that_nothing_vouches_for_is_refused(tmp_path):
    pin = Pin("r", COMMIT, {**sums(), NAMES_FILE: None})
    with pytest.raises(UserError, match=rf"no checkout of git, and the SHA-256 of {NAMES_FILE} is not known"):
        read_sources(write_checkout(tmp_path), pin)


@needs_git
def test_clone(tmp_path):
    commit = write_repository(tmp_path / "origin")
    (tmp_path / "origin" / NAMES_FILE).write_bytes(b"")
    git(tmp_path / "origin", "commit", "--quiet", "-a", "-m", "second")
    pin = unknown(tmp_path / "origin", commit)
    clone(pin, tmp_path / "copy")
    assert read_sources(tmp_path / "copy", pin) == SOURCES


@needs_git
@pytest.mark.parametrize(
    ("pin", "words"),
    [
        (unknown("no/such/repository"), ["no/such/repository: cannot be cloned", "prompts.checkout"]),
        (unknown("https://127.0.0.1:9/x.git"), ["127.0.0.1:9/x.git: cannot be cloned", "(git: "]),
        (None, ["commit 0123456789", "cannot be checked out"]),
    ],
)
def test_a_clone_that_fails_leaves_nothing(tmp_path, pin, words):
    if pin is None:
        write_repository(tmp_path / "origin")
        pin = unknown(tmp_path / "origin")
    with pytest.raises(UserError) as caught:
        clone(pin, tmp_path / "copies" / "copy")
    assert all(word in str(caught.value) for word in words)
    assert list((tmp_path / "copies").iterdir()) == []


def test_no_git(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"cannot be cloned; .*git is not installed"):
        clone(unknown("r"), tmp_path / "copy")


def test_the_lock_fills_in_what_the_pin_leaves_open(tmp_path):
    path = write_pin(tmp_path / "upstream.yaml", unknown("r"))
    write_lock(tmp_path / "lock.yaml", unknown("r"), SOURCES)
    assert load_pin(path, SCHEMA, tmp_path / "lock.yaml") == Pin("r", COMMIT, sums())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"commit": "f" * 40}, ["commit is", "f" * 40, COMMIT, "remove"]),
        ({"repository": "other"}, ["repository is 'other'"]),
        ({"files": {}}, ["is None", "expected 64 digits"]),
        ({"files": 3}, ["expected 64 digits"]),
        ({"files": dict.fromkeys(FILES, "0" * 64)}, ["has 0000", "says"]),
    ],
)
def test_a_lock_that_does_not_fit(tmp_path, change, words):
    path = write_pin(tmp_path / "upstream.yaml", Pin("r", COMMIT, sums()))
    lock = tmp_path / "lock.yaml"
    lock.write_text(yaml.safe_dump({"repository": "r", "commit": COMMIT, "files": sums()} | change))
    with pytest.raises(UserError) as caught:
        load_pin(path, SCHEMA, lock)
    assert all(word in str(caught.value) for word in [str(lock), *words])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"commit": "main"}, ["'commit' is 'main'"]),
        ({"files": {**sums(), NAMES_FILE: "abc"}}, ["utils/config.py' is 'abc'"]),
        ({"files": {}}, ["is missing"]),
        ({"branch": "main"}, ["unknown key 'branch'"]),
    ],
)
def test_a_faulty_pin(tmp_path, change, words):
    path = tmp_path / "upstream.yaml"
    path.write_text(yaml.safe_dump({"repository": "r", "commit": COMMIT, "files": sums()} | change))
    with pytest.raises(UserError) as caught:
        load_pin(path, SCHEMA, tmp_path / "lock.yaml")
    assert all(word in str(caught.value) for word in [str(path), *words])


# The command


def fetch(folder: Path, checkout: Path) -> None:
    fetch_upstream.main(
        [
            *("--checkout", str(checkout), "--upstream", str(folder / "upstream.yaml")),
            *("--schema", str(SCHEMA), "--lock", str(folder / "lock.yaml")),
            *("--ranking", str(folder / "out/ranking.yaml")),
            *("--translation", str(folder / "out/translation.yaml")),
            *("--pointwise", str(folder / "out/sqm.yaml")),
        ]
    )


@needs_git
def test_fetch_clones_writes_prompts_and_records_sums(tmp_path, capsys):
    commit = write_repository(tmp_path / "origin")
    write_pin(tmp_path / "upstream.yaml", unknown(tmp_path / "origin", commit))
    fetch(tmp_path, tmp_path / "copy")
    assert load_ranking_prompt(tmp_path / "out/ranking.yaml") == upstream_ranking_prompt(UPSTREAM)
    assert load_translation_prompt(tmp_path / "out/translation.yaml") == upstream_translation_prompt(UPSTREAM)
    assert load_pointwise_prompt(tmp_path / "out/sqm.yaml") == upstream_pointwise_prompt(UPSTREAM)
    assert yaml.safe_load((tmp_path / "lock.yaml").read_text())["files"] == sums()
    assert "SHA-256 of 4 files recorded" in capsys.readouterr().out

    # From now on other bytes are an error, whatever git says, and nothing is written.
    (tmp_path / "copy" / GROUP_FILE).write_bytes(SOURCES[GROUP_FILE] + b"\n")
    shutil.rmtree(tmp_path / "out")
    with pytest.raises(UserError, match=r"run_rm_GQM\.py: SHA-256 is"):
        fetch(tmp_path, tmp_path / "copy")
    assert not (tmp_path / "out").exists()


def test_fetch_reads_an_unpacked_archive(tmp_path):
    write_pin(tmp_path / "upstream.yaml", Pin("r", COMMIT, sums()))
    fetch(tmp_path, write_checkout(tmp_path / "own"))
    assert load_ranking_prompt(tmp_path / "out/ranking.yaml") == upstream_ranking_prompt(UPSTREAM)
    # All sums were known: nothing to record.
    assert not (tmp_path / "lock.yaml").exists()
