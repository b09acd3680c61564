"""Prompts, which are data (config/prompts/*.yaml), and the answers that models are trained to give to them.

A template names its placeholders in braces. They are filled in one pass and what fills them is never read
again, so braces, backticks and angle brackets in a source or a translation are harmless. `{fence}` is a code
fence longer than any run of backticks in the texts of the prompt.

The paper's authors' own prompts (`grrm.upstream`) are made by `gqm_prompt`, `sqm_prompt` and
`translation_prompt`, or become prompts like any other by the functions `upstream_..._prompt`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import yaml

from grrm.extract import answer_tag, before_reasoning, last_code_block, whole_text
from grrm.files import UserError, parse_yaml
from grrm.languages import language_code, language_name
from grrm.ranking import (
    MAX_CANDIDATES,
    MAX_SCORE,
    MIN_CANDIDATES,
    MIN_SCORE,
    RANKING_HEADER,
    SCORES_HEADER,
    InvalidAnswer,
    RankingAnswer,
    format_ranking,
    format_scores,
    is_score,
    labels,
    parse_ranking_answer,
    parse_score_answer,
    read_answer,
)
from grrm.upstream import UpstreamPrompts
from grrm.verdicts import parse_quality

# In the configuration, in the place of a prompt file: the authors' own prompt.
UPSTREAM = "upstream"

_PLACEHOLDER = re.compile(r"\{(\w+)\}")
# Placeholders for the names of the languages of a translation.
LANGUAGES = {"source_language", "target_language"}
_GROUP: dict[str, tuple[set[str], set[str]]] = {
    "prompt": (LANGUAGES | {"source", "candidates"}, {"fence", "count", "labels", "example"}),
    "candidate": ({"label", "text"}, {"fence"}),
    "example": (set(), set()),
}
_TRANSLATION = {"prompt": (LANGUAGES | {"source"}, {"fence", "target_code"})}
# What prompts for general judges share: how a reference is put, and the tag of the verdict.
_JUDGE: dict[str, tuple[set[str], set[str]]] = {
    "reference": ({"reference"}, {"fence"}),
    "tag": (set(), set()),
}

# Kind of prompt -> template -> placeholders: the needed ones and those that may be left out.
_KINDS: dict[str, dict[str, tuple[set[str], set[str]]]] = {
    "score": _GROUP,
    "ranking": _GROUP,
    "ranking_score": _GROUP,
    "sqm": {"prompt": (LANGUAGES | {"source", "translation"}, {"fence"})},
    "codeblock-think": _TRANSLATION,
    "plain": _TRANSLATION,
    "judge_translation": {
        "prompt": (LANGUAGES | {"source", "translation"}, {"fence", "reference", "hints"}),
        "reference": ({"reference"}, {"fence"}),
        "hints": ({"hints"}, {"fence"}),
    },
    "seed-x": _TRANSLATION,
    "ssr": {"prompt": ({"target_language", "source"}, {"source_language", "fence", "target_code"})},
    "judge_pairwise": {
        "prompt": ({"question", "first", "second"}, {"fence", "reference"} | LANGUAGES),
        **_JUDGE,
    },
    "judge_pointwise": {
        "prompt": ({"question", "response"}, {"fence", "reference"} | LANGUAGES),
        **_JUDGE,
    },
    "judge_listwise": {
        "prompt": ({"question", "candidates"}, {"fence", "count", "reference"} | LANGUAGES),
        "candidate": ({"number", "text"}, {"fence"}),
        **_JUDGE,
    },
}
_MAY_BE_LEFT_OUT = {"example"}

# Kind of prompt -> what reads the answer to it.
RANKING_KINDS: dict[str, Callable[[str, int], RankingAnswer | InvalidAnswer]] = {
    "score": parse_score_answer,
    "ranking": parse_ranking_answer,
    "ranking_score": read_answer,
}
TRANSLATION_KINDS: dict[str, Callable[[str], str | None]] = {
    "codeblock-think": last_code_block,
    "plain": whole_text,
    "seed-x": before_reasoning,
    "ssr": answer_tag,
}
# Kinds of models without a chat template: the prompt is continued as it is.
_CONTINUED = {"seed-x", "ssr"}

# Names for the prompt files of the workflow, as they are given on a command line.
RANKING_PROMPTS = {
    "ranking_score": "ranking.yaml",
    "ranking": "gqm_ranking.yaml",
    "score": "gqm_score.yaml",
    "sqm": "sqm.yaml",
}
TRANSLATION_PROMPTS = {
    "codeblock-think": "translation.yaml",
    "plain": "translation_plain.yaml",
    "tower": "tower.yaml",
    "seed-x": "seed_x.yaml",
    "seed-x-cot": "seed_x_cot.yaml",
    "ssr": "ssr.yaml",
}
_FOLDER = Path(__file__).parents[2] / "config/prompts"


@dataclass(frozen=True)
class RankingPrompt:
    """Asks for an analysis and a ranking, scores, or both, of a group of translations (GQM).

    Attributes:
        prompt: template of the whole.
        candidate: template of one candidate; the candidates are joined by line ends.
        example: how an answer ends, put in the place of {example}; may be empty.
        kind: what the answer ends with: `score`, `ranking` or `ranking_score`.
    """

    prompt: str
    candidate: str
    example: str = ""
    kind: str = "ranking_score"

    def render(self, *, src_text: str, mt_texts: Sequence[str], src_lang: str, trg_lang: str) -> str:
        """The prompt for one group; candidates are labelled A, B, C... by position.

        Raises:
            UserError: a language is not known.
            ValueError: fewer than 2 candidates or more than 26.
        """
        if not MIN_CANDIDATES <= len(mt_texts) <= MAX_CANDIDATES:
            raise ValueError(f"{len(mt_texts)} candidates; expected {MIN_CANDIDATES} to {MAX_CANDIDATES}")
        names = labels(len(mt_texts))
        fence = code_fence(src_text, *mt_texts)
        candidates = "\n".join(
            fill_template(self.candidate, {"label": label, "text": text, "fence": fence})
            for label, text in zip(names, mt_texts, strict=True)
        )
        return fill_template(
            self.prompt,
            {
                "source_language": language_name(src_lang),
                "target_language": language_name(trg_lang),
                "source": src_text,
                "candidates": candidates,
                "fence": fence,
                "count": str(len(names)),
                "labels": ", ".join(names),
                "example": self.example,
            },
        )

    def messages(
        self, *, src_text: str, mt_texts: Sequence[str], src_lang: str, trg_lang: str
    ) -> list[dict[str, str]]:
        """The same as a conversation of one user message; raises what `render` raises."""
        return _user(self.render(src_text=src_text, mt_texts=mt_texts, src_lang=src_lang, trg_lang=trg_lang))

    def read(self, answer: str, candidates: int) -> RankingAnswer | InvalidAnswer:
        """What a judge answered about a group of so many candidates, or why it cannot be used."""
        return RANKING_KINDS[self.kind](answer, candidates)

    def without_example(self) -> RankingPrompt:
        """The same prompt without its output example."""
        return replace(self, example="")


@dataclass(frozen=True)
class PointwisePrompt:
    """Asks for an analysis and a score from 0 to 10 of a single translation (SQM, kind `sqm`).

    Attributes:
        prompt: template of the whole.
        kind: always `sqm`.
    """

    prompt: str
    kind: str = "sqm"

    def render(self, *, src_text: str, mt_text: str, src_lang: str, trg_lang: str) -> str:
        """The prompt for one translation.

        Raises:
            UserError: a language is not known.
        """
        return fill_template(
            self.prompt,
            {
                "source_language": language_name(src_lang),
                "target_language": language_name(trg_lang),
                "source": src_text,
                "translation": mt_text,
                "fence": code_fence(src_text, mt_text),
            },
        )

    def messages(self, *, src_text: str, mt_text: str, src_lang: str, trg_lang: str) -> list[dict[str, str]]:
        """The same as a conversation of one user message; raises what `render` raises."""
        return _user(self.render(src_text=src_text, mt_text=mt_text, src_lang=src_lang, trg_lang=trg_lang))

    def read(self, answer: str) -> float:
        """The score, 0 to 10, on the last line of the answer.

        Raises:
            ValueError: there is none; says what there is.
        """
        return parse_quality(answer, MAX_SCORE)


@dataclass(frozen=True)
class TranslationPrompt:
    """Asks for a translation.

    Attributes:
        prompt: template of the whole.
        kind: `codeblock-think`: an analysis, then the translation in a code block; `plain`: nothing but the
            translation; `seed-x`: the translation, then reasoning if it is asked for; `ssr`: reasoning, then
            the translation in a tag.
    """

    prompt: str
    kind: str = "codeblock-think"

    @property
    def chat(self) -> bool:
        """Whether it is put as a user's turn; else the model continues it as it is."""
        return self.kind not in _CONTINUED

    def render(self, *, src_text: str, src_lang: str, trg_lang: str) -> str:
        """The prompt for one segment.

        Raises:
            UserError: a language is not known.
        """
        return fill_template(
            self.prompt,
            {
                "source_language": language_name(src_lang),
                "target_language": language_name(trg_lang),
                "target_code": language_code(trg_lang),
                "source": src_text,
                "fence": code_fence(src_text),
            },
        )

    def messages(self, *, src_text: str, src_lang: str, trg_lang: str) -> list[dict[str, str]]:
        """The same as a conversation of one user message; raises what `render` raises."""
        return _user(self.render(src_text=src_text, src_lang=src_lang, trg_lang=trg_lang))

    def read(self, answer: str) -> str | None:
        """The translation in a model's answer; None if there is none."""
        return TRANSLATION_KINDS[self.kind](answer)


def load_ranking_prompt(path: str | Path, *kinds: str) -> RankingPrompt:
    """Read a prompt about a group of translations.

    Args:
        path: prompt file.
        *kinds: those of `RANKING_KINDS` allowed; by default `ranking_score`, which the GRRM is trained on.

    Raises:
        UserError: the file is missing, is not such a prompt, or has unknown or missing placeholders.
    """
    kind, templates = _load(path, kinds or ("ranking_score",))
    return RankingPrompt(**templates, kind=kind)


def load_pointwise_prompt(path: str | Path) -> PointwisePrompt:
    """Read a prompt of kind `sqm`.

    Raises:
        UserError: the file is missing, is not such a prompt, or has unknown or missing placeholders.
    """
    return PointwisePrompt(**load_templates(path, "sqm"))


def load_translation_prompt(path: str | Path, *kinds: str) -> TranslationPrompt:
    """Read a prompt that asks for a translation.

    Args:
        path: prompt file.
        *kinds: those of `TRANSLATION_KINDS` allowed; by default `codeblock-think`, which the translation
            model is trained on.

    Raises:
        UserError: the file is missing, is not such a prompt, or has unknown or missing placeholders.
    """
    kind, templates = _load(path, kinds or ("codeblock-think",))
    return TranslationPrompt(**templates, kind=kind)


def find_ranking_prompt(name: str | Path) -> RankingPrompt | PointwisePrompt:
    """A prompt that asks for scores: one of `RANKING_PROMPTS` by its name, or a prompt file of any such kind.

    Raises:
        UserError: it is neither, or the file is not such a prompt.
    """
    kind, templates = _load(_find(name, RANKING_PROMPTS), (*RANKING_KINDS, "sqm"))
    return PointwisePrompt(**templates) if kind == "sqm" else RankingPrompt(**templates, kind=kind)


def find_translation_prompt(name: str | Path) -> TranslationPrompt:
    """A prompt that asks for a translation: one of `TRANSLATION_PROMPTS` by its name, or a prompt file.

    Raises:
        UserError: it is neither, or the file is not such a prompt.
    """
    return load_translation_prompt(_find(name, TRANSLATION_PROMPTS), *TRANSLATION_KINDS)


def _find(name: str | Path, names: Mapping[str, str]) -> Path:
    known = names.get(str(name).lower())
    if known is None and not Path(name).exists():
        raise UserError(f"{name}: no such prompt file, and not one of {', '.join(names)}")
    return _FOLDER / known if known else Path(name)


def dump_prompt(prompt: RankingPrompt | PointwisePrompt | TranslationPrompt) -> str:
    """A prompt as the content of a prompt file; loading it gives the same prompt."""
    values = {field.name: getattr(prompt, field.name) for field in fields(prompt)}
    content = {"kind": values.pop("kind")} | {name: text for name, text in values.items() if text}
    # In double quotes every character survives; U+0085 would not without them.
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=1000, default_style='"')


def gqm_prompt(
    source_lang: str,
    target_lang: str,
    source_text: str,
    mt_texts: Sequence[str],
    prompt_format: str,
    add_example: bool = False,
    *,
    upstream: UpstreamPrompts,
) -> str:
    """The authors' prompt about a group: what `get_prompt` of inference/run_rm_GQM.py returns, byte for byte.

    Args:
        source_lang: name of the language (`upstream.language` gives it).
        target_lang: likewise.
        source_text: source.
        mt_texts: 2 candidates or more, not more than they have labels for (8).
        prompt_format: score, ranking or ranking_score.
        add_example: end with an example of the answer; their trained models are asked without.
        upstream: their templates.

    Raises:
        ValueError: the format is unknown, or there are too few or too many candidates.
    """
    if prompt_format not in upstream.tasks:
        raise ValueError(f"prompt format {prompt_format!r}; expected one of {', '.join(upstream.tasks)}")
    if not MIN_CANDIDATES <= len(mt_texts) <= len(upstream.labels):
        raise ValueError(
            f"{len(mt_texts)} candidates; the authors' prompt takes "
            f"{MIN_CANDIDATES} to {len(upstream.labels)}"
        )
    candidates = "".join(
        upstream.candidate.format(label, text) for label, text in zip(upstream.labels, mt_texts, strict=False)
    )
    task = _upstream_task(upstream, prompt_format, add_example)
    return upstream.group.format(source_lang, target_lang, task, source_text, candidates)


def sqm_prompt(
    source_lang: str, target_lang: str, source_text: str, mt_text: str, *, upstream: UpstreamPrompts
) -> str:
    """The authors' prompt about a single translation, as inference/run_rm_SQM.py puts it, byte for byte.

    Args:
        source_lang: name of the language (`upstream.language` gives it).
        target_lang: likewise.
        source_text: source.
        mt_text: translation.
        upstream: their templates.
    """
    return upstream.pointwise.format(source_lang, target_lang, source_text, mt_text)


def translation_prompt(
    prompt_type: str,
    src_lang: str,
    trg_lang: str,
    src_text: str,
    trg_token: str | None = None,
    *,
    upstream: UpstreamPrompts,
) -> str:
    """The authors' translation prompt: what `get_prompt` of inference/run_mt.py returns, byte for byte.

    Args:
        prompt_type: codeblock-think, or one of theirs for other models (Tower, seedx...).
        src_lang: two-letter code, or name of the language.
        trg_lang: likewise. With a code, the name of the language is also taken for `trg_token`, as they do.
        src_text: source.
        trg_token: tag of the target language, for types that have one.
        upstream: their templates.

    Raises:
        UserError: they have no name for the language, or the type is made in a way that is not read.
        ValueError: the type is unknown, or needs `trg_token`.
    """
    if prompt_type not in upstream.translations:
        raise ValueError(f"prompt type {prompt_type!r}; expected one of {', '.join(upstream.translations)}")
    names = {
        "prompt_type": prompt_type,
        "src_lang": upstream.language(src_lang),
        "trg_lang": upstream.language(trg_lang),
        "src_text": src_text,
        "trg_token": upstream.language(trg_lang) if len(trg_lang) == 2 else trg_token,
    }
    return upstream.translations[prompt_type].render(names)


def upstream_ranking_prompt(
    upstream: UpstreamPrompts, kind: str = "ranking_score", *, add_example: bool = False
) -> RankingPrompt:
    """The authors' prompt about a group as a prompt like any other; it renders what `gqm_prompt` returns.

    Raises:
        UserError: their templates are of a form that does not allow it.
    """
    # Candidates end their own lines; here they are joined by line ends.
    candidate = upstream.candidate.format("{label}", "{text}").removesuffix("\n")
    task = _upstream_task(upstream, kind, add_example)
    whole = upstream.group.format(
        "{source_language}", "{target_language}", task, "{source}", "{candidates}\n"
    )
    prompt = RankingPrompt(whole, candidate, kind=kind)
    _check_same(
        upstream,
        lambda source, target, text: (
            prompt.render(src_lang=source, trg_lang=target, src_text=text, mt_texts=[text, "x", text]),
            gqm_prompt(
                upstream.language(source),
                upstream.language(target),
                text,
                [text, "x", text],
                kind,
                add_example,
                upstream=upstream,
            ),
        ),
    )
    return prompt


def upstream_pointwise_prompt(upstream: UpstreamPrompts) -> PointwisePrompt:
    """The authors' prompt about a single translation as a prompt like any other.

    Raises:
        UserError: their template is of a form that does not allow it.
    """
    prompt = PointwisePrompt(
        upstream.pointwise.format("{source_language}", "{target_language}", "{source}", "{translation}")
    )
    _check_same(
        upstream,
        lambda source, target, text: (
            prompt.render(src_lang=source, trg_lang=target, src_text=text, mt_text=f"x{text}"),
            sqm_prompt(
                upstream.language(source), upstream.language(target), text, f"x{text}", upstream=upstream
            ),
        ),
    )
    return prompt


def upstream_translation_prompt(upstream: UpstreamPrompts) -> TranslationPrompt:
    """The authors' translation prompt (codeblock-think) as a prompt like any other.

    Raises:
        UserError: their template is of a form that does not allow it.
    """
    kind = "codeblock-think"
    prompt = TranslationPrompt(
        translation_prompt(kind, "{source_language}", "{target_language}", "{source}", upstream=upstream)
    )
    _check_same(
        upstream,
        lambda source, target, text: (
            prompt.render(src_lang=source, trg_lang=target, src_text=text),
            translation_prompt(kind, source, target, text, upstream=upstream),
        ),
    )
    return prompt


def _upstream_task(upstream: UpstreamPrompts, kind: str, add_example: bool) -> str:
    return upstream.tasks[kind] + (f" {upstream.examples[kind]}" if add_example else "")


def _check_same(upstream: UpstreamPrompts, both: Callable[[str, str, str], tuple[str, str]]) -> None:
    """Compare a prompt made by our template and by their code, for all languages and awkward texts."""
    codes = list(upstream.languages)
    for source, target in zip(codes, codes[1:] + codes[:1], strict=True):
        for text in ("plain", " two\n\nlines\n", "{source} {} {0} %s ``` \\n\r"):
            ours, theirs = both(source, target, text)
            if ours != theirs:
                raise UserError(
                    f"the authors' prompt ({source}-{target}) cannot be written as a prompt file: {ours!r} "
                    f"would stand where {theirs!r} should"
                )


def ranking_answer(analysis: str, scores: Sequence[int], kind: str = "ranking_score") -> str:
    """The answer that a GRRM is trained to give; the reader of its kind (`RANKING_KINDS`) reads it back.

    Args:
        analysis: the reasoning; white space around it is left out.
        scores: 0..10 for each candidate, by position.
        kind: what the answer ends with: score, ranking or ranking_score.

    Raises:
        KeyError: the kind is unknown.
        ValueError: the analysis is empty, or see `ranking_verdict`.
    """
    if not analysis.strip():
        raise ValueError("the analysis is empty")
    return f"{analysis.strip()}\n\n{ranking_verdict(scores, kind)}"


def ranking_verdict(scores: Sequence[int], kind: str = "ranking_score") -> str:
    """What such an answer ends with.

    Raises:
        KeyError: the kind is unknown.
        ValueError: the scores are not 2 to 26 integers from 0 to 10.
    """
    if not MIN_CANDIDATES <= len(scores) <= MAX_CANDIDATES:
        raise ValueError(f"{len(scores)} scores; expected {MIN_CANDIDATES} to {MAX_CANDIDATES}")
    if not all(is_score(score) for score in scores):
        raise ValueError(f"scores {list(scores)}; expected integers from {MIN_SCORE} to {MAX_SCORE}")
    by_label = dict(zip(labels(len(scores)), scores, strict=True))
    ranking_block = f"{RANKING_HEADER}\n\n{format_ranking(by_label)}\n"
    ends = {
        "score": ", ".join(f"{label}: {score}" for label, score in by_label.items()) + "\n",
        "ranking": ranking_block,
        "ranking_score": f"{ranking_block}\n{SCORES_HEADER}\n\n{format_scores(by_label)}\n",
    }
    return ends[kind]


def translation_answer(analysis: str, translation: str) -> str:
    """The answer that a translation model is trained to give; `grrm.extract.code_block` reads it back.

    The fence is longer than any run of backticks in either text, so that it stands out as the only one. White
    space around either text is left out; the analysis may be empty.

    Raises:
        ValueError: the translation is empty.
    """
    if not translation.strip():
        raise ValueError("the translation is empty")
    fence = code_fence(analysis, translation)
    return f"{analysis.strip()}\n\n{fence}\n{translation.strip()}\n{fence}".lstrip()


def code_fence(*texts: str) -> str:
    """Three backticks, or one more than the longest run of backticks in any of `texts`."""
    longest = max((len(run) for text in texts for run in re.findall("`+", text)), default=0)
    return "`" * max(3, longest + 1)


def _user(content: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": content}]


def fill_template(template: str, values: Mapping[str, str]) -> str:
    """Put values in the places of {names}, in one pass.

    Raises:
        KeyError: the template names a value that is not there.
    """
    return _PLACEHOLDER.sub(lambda match: values[match[1]], template)


def load_templates(path: str | Path, kind: str) -> dict[str, str]:
    """The templates of a prompt file of this kind, checked.

    Raises:
        UserError: the file is missing, is not of this kind, or has unknown or missing placeholders.
    """
    return _load(path, (kind,))[1]


def check_templates(where: str | Path, data: Mapping[str, Any], *kinds: str) -> dict[str, str]:
    """The templates in the content of a prompt file of one of these kinds, checked.

    Args:
        where: what errors call it, a path for example.
        data: kind and templates.
        *kinds: those allowed.

    Raises:
        UserError: it is not of these kinds, or has unknown or missing placeholders.
    """
    kind = data.get("kind")
    if not isinstance(kind, str) or kind not in kinds:
        raise UserError(f"{where}: kind is {kind!r}; expected {' or '.join(map(repr, kinds))}")
    templates = {key: value for key, value in data.items() if key != "kind"}
    known = _KINDS[kind]
    if templates.keys() - known.keys() or known.keys() - templates.keys() - _MAY_BE_LEFT_OUT:
        raise UserError(f"{where}: keys are {sorted(data)}; expected {_key_words(known)}")
    for key, template in templates.items():
        if not isinstance(template, str):
            raise UserError(f"{where}: {key} is {template!r}; expected a text")
        _check_placeholders(f"{where}: {key}", template, *known[key])
    for key in templates.keys() & _MAY_BE_LEFT_OUT:
        if f"{{{key}}}" not in templates["prompt"]:
            raise UserError(f"{where}: prompt has no place {{{key}}} for {key}; add it, or leave out {key}")
    return templates


def _load(path: str | Path, kinds: Sequence[str]) -> tuple[str, dict[str, str]]:
    data = _read_yaml(path)
    templates = check_templates(path, data, *kinds)
    return data["kind"], templates


def _key_words(known: Mapping[str, object]) -> str:
    optional = sorted(known.keys() & _MAY_BE_LEFT_OUT)
    needed = str(sorted({"kind", *known} - set(optional)))
    return f"{needed}, and if wanted {optional}" if optional else needed


def _check_placeholders(where: str, template: str, needed: set[str], optional: set[str]) -> None:
    found = set(_PLACEHOLDER.findall(template))
    for name in sorted(found - needed - optional):
        known = ", ".join(f"{{{name}}}" for name in sorted(needed | optional)) or "none here"
        raise UserError(f"{where} has the unknown placeholder {{{name}}}; known are {known}")
    for name in sorted(needed - found):
        raise UserError(f"{where} lacks the placeholder {{{name}}}")


def _read_yaml(path: str | Path) -> dict[str, Any]:
    try:
        data = parse_yaml(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(
            f"{path}: no such prompt file; those of the workflow lie in config/prompts"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as a prompt file ({error})") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML ({error})") from error
    if not isinstance(data, dict):
        raise UserError(f"{path}: expected a mapping with 'kind' and templates, found {type(data).__name__}")
    return data
