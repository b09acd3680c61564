"""Whether a translation is in the language it should be in, by script, letters and function words.

Made for what models do wrong: to answer in the source language, or in English. It errs on the side of the
translation. What it cannot tell (short texts, names, numbers) is None. Its limits: languages of one script
are told apart only where they are listed below, so Serbian for Russian goes unseen; near ones (Spanish for
Portuguese) not always; a translation with a sentence or two in another language passes.
"""

from __future__ import annotations

import re
from functools import cache

from grrm.languages import base_language, letters_by_script, script_of

SIGNATURE = "script+function-words.1"

# The first word of the Unicode names of a script's letters, where it is not that of the script's own name.
_KANA = frozenset({"HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA"})
_LETTERS: dict[str, frozenset[str]] = {
    **dict.fromkeys(("Hans", "Hant", "Hani"), frozenset({"CJK"})),
    "Hanb": frozenset({"CJK", "BOPOMOFO"}),
    **dict.fromkeys(("Jpan", "Hrkt"), _KANA | {"CJK"}),
    **dict.fromkeys(("Hira", "Kana"), _KANA),
    **dict.fromkeys(("Kore", "Hang"), frozenset({"HANGUL", "CJK"})),
    "Aran": frozenset({"ARABIC"}),
    "Beng": frozenset({"BENGALI"}),
    "Cans": frozenset({"CANADIAN"}),
    "Lana": frozenset({"TAI"}),
    "Mtei": frozenset({"MEETEI"}),
    "Nkoo": frozenset({"NKO"}),
    "Nshu": frozenset({"NUSHU"}),
    "Orya": frozenset({"ORIYA"}),
}
_FUNCTION_WORDS = {
    "de": """
        aber als am auch auf aus bei dass das dem den der des die durch ein eine einem einen einer es
        für haben hat ich im ist mit nach nicht noch nur oder sich sie sind und uns vom von vor war wenn
        werden wie wir wird wurde zu zum zur über
    """,
    "en": """
        about after all also and are as at be been but by can did for from had has have he her his how
        if into is it its my not of on or our she so than that the their them there they this to was we
        were what when which who will with would you your
    """,
    "es": """
        al aunque como con cuando de del desde donde el ella en entre era es esta este está están fue ha
        han hasta la las lo los muy más nos para pero porque por que qué se sin sobre son su sus también
        un una y ya
    """,
    "fr": """
        au aux avec avoir ce ces cette comme dans de des du elle en est et être il ils je la le les leur
        mais même ne nous ont ou où par pas plus pour qu que qui sa sans se ses son sont sur très un une
        vous été
    """,
    "it": """
        ai al alla anche che chi ci come con da dal dalla degli dei del della delle di e ed era gli ha
        hanno i il in io la le lo ma nel nella non o per perché più quando questa questo se si sono
        stato su sul sulla un una è
    """,
    "nl": """
        aan al als bij dan dat de deze die dit door een en er geen had heeft het hij hun ik in is je kan
        maar meer met naar niet nog of om onder ons ook op over te toen tot uit van veel voor was wat
        werd wij worden wordt ze zich zijn zou
    """,
    "pt": """
        ao aos as até com como da das de dele depois do dos e ela ele em entre era essa esse está eu foi
        há isso mais mas me muito na nas no nos não o os ou para pela pelo por quando que se sem ser seu
        sua são também tem um uma é
    """,
}
_WORDS_OF = {language: frozenset(words.split()) for language, words in _FUNCTION_WORDS.items()}
_WORD = re.compile(r"[^\W\d_]+")
# A Chinese character says as much as about three letters.
_DENSE = {"CJK", *_KANA, "HANGUL"}
_DENSITY = 3
_FEWEST_LETTERS = 4
_FEWEST_WORDS = 3


def can_tell(language: str) -> bool:
    """Whether texts that should be in this language can be checked at all."""
    base = base_language(language)
    return base in _FUNCTION_WORDS or {script_of(language), script_of(base)} != {"Latn"}


def is_off_target(text: str, language: str) -> bool | None:
    """Whether a text is in another language than it should be; None if that cannot be told.

    Args:
        text: a translation.
        language: code of the language it should be in, one that `can_tell`.
    """
    code, script = base_language(language), script_of(language)
    found = letters_by_script(text)
    for dense in _DENSE & found.keys():
        found[dense] *= _DENSITY
    letters = found.total()
    if letters < _FEWEST_LETTERS:
        return None
    if sum(found[name] for name in _letters(script)) < letters / 2:
        return True
    if _letters(script) == _LETTERS["Hans"]:
        return found["HIRAGANA"] + found["KATAKANA"] > letters / 5
    if script == "Jpan":  # a Japanese sentence hardly ever does without kana
        return letters > 9 * _DENSITY and not found["HIRAGANA"] + found["KATAKANA"]
    if script == "Kore":
        return found["HANGUL"] < letters / 4
    if code in ("ru", "uk") and script == "Cyrl":
        return _east_slavic(text.lower(), code)
    if code in _FUNCTION_WORDS and script == "Latn":
        return _other_words(text.lower(), code)
    return False


@cache
def _letters(script: str) -> frozenset[str]:
    """First words of the Unicode names of a script's letters."""
    import langcodes

    if script in _LETTERS:
        return _LETTERS[script]
    return frozenset({langcodes.Language.make(script=script).script_name().upper().split()[0]})


def _east_slavic(text: str, code: str) -> bool:
    """Letters that only one of Russian and Ukrainian has."""
    letters = {"ru": sum(map(text.count, "ыэъё")), "uk": sum(map(text.count, "іїєґ"))}
    other = "uk" if code == "ru" else "ru"
    return letters[other] > letters[code]


def _other_words(text: str, code: str) -> bool | None:
    words = _WORD.findall(text)
    found = {language: sum(word in known for word in words) for language, known in _WORDS_OF.items()}
    if max(found.values()) < _FEWEST_WORDS:
        return None
    if max(found.values()) >= 2 * max(found[code], 1):
        return True
    return False if found[code] == max(found.values()) else None
