"""Languages by their tags (BCP 47, with - or _): names for prompts, scripts for metrics.

Names, scripts and what is known of each language are those of langcodes, which follows Unicode's CLDR. It is
imported when the first language is looked up: planning does without it.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from functools import cache
from typing import Any

from grrm.files import UserError

TOY = frozenset({"xx", "yy"})
"""The languages of the demonstration; they stand for themselves."""

# Scripts that set no spaces between words, by ISO 15924.
WITHOUT_SPACES = frozenset(
    {"Hans", "Hant", "Hani", "Hanb", "Jpan", "Hira", "Kana", "Hrkt", "Thai", "Khmr", "Laoo", "Mymr", "Tibt"}
    | {"Java", "Bali", "Lana", "Tale", "Talu", "Tavt", "Yiii"}
)
# The data sets of the paper say Bengali where CLDR says Bangla.
_PUBLISHED_NAMES = {"Bangla": "Bengali"}
# They are tags, but name no language: undetermined, several, other, none; and what is left to private use.
_NO_LANGUAGE = re.compile("und|mul|mis|zxx|q[a-t][a-z]|x-.*")
_NO_REGION = frozenset({"XX", "ZZ"})  # mBART writes en_XX


@cache
def language_code(code: str) -> str:
    """A language's tag in its usual form, with _: zh for ZH or zho, zh_TW for zh-tw, sr_Latn for srp-Latn.

    Codes of three letters become the shorter ones, and a script that goes without saying (Latn for en) is
    left out; region and script stay otherwise.

    Raises:
        UserError: it is no tag of a known language.
    """
    if code in TOY:
        return code
    language = _language(code)
    return str(language.to_tag()).replace("-", "_")


def language_pair(pair: str) -> tuple[str, str]:
    """Source and target of a pair such as zh-en, en-pt_BR or zh-Hant-en, as `language_code` has them.

    Where more than one place can be meant (en-pt-BR: English, or that of Portugal, and Breton), the usual
    case of letters tells: regions are capital, languages are not.

    Raises:
        UserError: it is not a pair of known languages, or can be read in more than one way.
    """
    places = [place for place, sign in enumerate(pair) if sign == "-"]
    if not places:
        raise UserError(f"language pair {pair!r}: expected two codes with a dash between them, such as zh-en")
    splits = [(pair[:place], pair[place + 1 :]) for place in places]
    known = splits if len(splits) == 1 else [split for split in splits if all(map(_is_language, split))]
    usual = [split for split in known if all(_USUAL_CASE.fullmatch(code) for code in split)]
    chosen = known if len(known) == 1 else usual
    if len(chosen) != 1:
        raise UserError(
            f"language pair {pair!r}: expected two codes of known languages with a dash between them, and _ "
            "before regions and scripts, such as en-pt_BR"
        )
    source, target = chosen[0]
    return language_code(source), language_code(target)


_USUAL_CASE = re.compile("[a-z]+([-_]([A-Z][a-z]{3}|[A-Z]{2}|[0-9]{3}|[a-z0-9]{5,8}))*")


def _is_language(code: str) -> bool:
    try:
        language_code(code)
    except UserError:
        return False
    return True


def letters_by_script(text: str) -> Counter[str]:
    """The letters of a text, by the first word of their Unicode names: LATIN, CJK, HIRAGANA..."""
    return Counter(unicodedata.name(letter, "?").split()[0] for letter in text if letter.isalpha())


def base_language(code: str) -> str:
    """The language alone, without script and region: zh for zh_TW; raises what `language_code` raises."""
    return language_code(code).partition("_")[0]


@cache
def language_name(code: str) -> str:
    """The English name of a language: Chinese for zh, Portuguese (Brazil) for pt_BR.

    A script is named where the tag says it, and where its region has another one than the language mostly
    has: Chinese (Traditional, Taiwan) for zh_TW.

    Raises:
        UserError: it is no tag of a known language.
    """
    if code in TOY:
        return code
    language = _language(code)
    if language.script is None and script_of(code) != script_of(language.language):
        language = language.update_dict({"script": script_of(code)})
    name = str(language.display_name("en"))
    for theirs, ours in _PUBLISHED_NAMES.items():
        name = name.replace(theirs, ours)
    return name


@cache
def script_of(code: str) -> str:
    """The script that a language is written in (ISO 15924): Hant for zh_TW, Arab for pa_PK.

    Raises:
        UserError: it is no tag of a known language.
    """
    return "Latn" if code in TOY else str(_language(code).maximize().script)


@cache
def region_of(code: str) -> str | None:
    """The region that a tag names: TW for zh_TW, None for zh; raises what `language_code` raises."""
    region: str | None = None if code in TOY else _language(code).territory
    return region


@cache
def _language(code: str) -> Any:
    import langcodes

    try:
        language = langcodes.Language.get(langcodes.standardize_tag(code, macro=True))
        known = langcodes.tag_is_valid(language.to_tag())
    except ValueError:
        known = False
    if not known or _NO_LANGUAGE.fullmatch(language.language or "und"):
        raise UserError(
            f"unknown language code {code!r}; expected a tag (BCP 47) such as en, pt_BR, zh-Hant or sr_Latn"
        )
    if language.territory in _NO_REGION:
        language = language.update_dict({"territory": None})
    if language.language == "ko" and language.script == "Hang":  # Kore, which goes without saying, has it
        language = language.update_dict({"script": None})
    return language
