"""The paper's authors' own prompts (`grrm.upstream`), byte for byte, and as prompts like any other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from grrm.files import UserError
from grrm.prompts.tasks import PointwisePrompt, RankingPrompt, TranslationPrompt
from grrm.ranking import MIN_CANDIDATES
from grrm.upstream import UpstreamPrompts


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
