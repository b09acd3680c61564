"""English names of languages by their codes, as prompts name them."""

from __future__ import annotations

import re
from functools import cache

from grrm.files import UserError

# ISO 639-1 where there is a two-letter code. Toy languages of the demonstration stand for themselves.
NAMES = {
    "ar": "Arabic",
    "bg": "Bulgarian",
    "bn": "Bengali",
    "ca": "Catalan",
    "cs": "Czech",
    "da": "Danish",
    "de": "German",
    "el": "Greek",
    "en": "English",
    "es": "Spanish",
    "et": "Estonian",
    "fa": "Persian",
    "fi": "Finnish",
    "fil": "Filipino",
    "fr": "French",
    "gu": "Gujarati",
    "ha": "Hausa",
    "he": "Hebrew",
    "hi": "Hindi",
    "hr": "Croatian",
    "hu": "Hungarian",
    "id": "Indonesian",
    "is": "Icelandic",
    "it": "Italian",
    "ja": "Japanese",
    "kk": "Kazakh",
    "km": "Khmer",
    "kn": "Kannada",
    "ko": "Korean",
    "lt": "Lithuanian",
    "lv": "Latvian",
    "ml": "Malayalam",
    "mr": "Marathi",
    "ms": "Malay",
    "nl": "Dutch",
    "no": "Norwegian",
    "pa": "Punjabi",
    "pl": "Polish",
    "ps": "Pashto",
    "pt": "Portuguese",
    "ro": "Romanian",
    "ru": "Russian",
    "sk": "Slovak",
    "sl": "Slovenian",
    "sr": "Serbian",
    "sv": "Swedish",
    "sw": "Swahili",
    "ta": "Tamil",
    "te": "Telugu",
    "th": "Thai",
    "tr": "Turkish",
    "uk": "Ukrainian",
    "ur": "Urdu",
    "vi": "Vietnamese",
    "zh": "Chinese",
    "zu": "Zulu",
    "xx": "xx",
    "yy": "yy",
}

# ISO 639-3 (and the 639-2 forms that differ), and older or narrower codes that mean the same language.
_ALIASES = {
    "ara": "ar", "arb": "ar", "bul": "bg", "ben": "bn", "cat": "ca", "ces": "cs", "cze": "cs", "dan": "da",
    "deu": "de", "ger": "de", "ell": "el", "gre": "el", "eng": "en", "spa": "es", "est": "et", "ekk": "et",
    "fas": "fa", "per": "fa", "pes": "fa", "fin": "fi", "tl": "fil", "tgl": "fil", "fra": "fr", "fre": "fr",
    "guj": "gu", "hau": "ha", "heb": "he", "iw": "he", "hin": "hi", "hrv": "hr", "hun": "hu", "ind": "id",
    "isl": "is", "ice": "is", "ita": "it", "jpn": "ja", "kaz": "kk", "khm": "km", "kan": "kn", "kor": "ko",
    "lit": "lt", "lav": "lv", "lvs": "lv", "mal": "ml", "mar": "mr", "msa": "ms", "zsm": "ms", "nld": "nl",
    "dut": "nl", "nor": "no", "nb": "no", "nob": "no", "pan": "pa", "pol": "pl", "pus": "ps", "pbt": "ps",
    "por": "pt", "ron": "ro", "rum": "ro", "rus": "ru", "slk": "sk", "slo": "sk", "slv": "sl", "srp": "sr",
    "swe": "sv", "swa": "sw", "swh": "sw", "tam": "ta", "tel": "te", "tha": "th", "tur": "tr", "ukr": "uk",
    "urd": "ur", "vie": "vi", "zho": "zh", "chi": "zh", "cmn": "zh", "zul": "zu",
}  # fmt: skip

_CODE = re.compile(r"([A-Za-z]{2,3})(?:[-_][A-Za-z0-9]+)*")


@cache
def language_code(code: str) -> str:
    """The plain code of a language: zh for zh, ZH, zh_CN, zho_Hans...; region and script are dropped.

    Raises:
        UserError: the language is not known; the message lists those that are.
    """
    match = _CODE.fullmatch(code)
    base = match[1].lower() if match else ""
    base = _ALIASES.get(base, base)
    if base not in NAMES:
        raise UserError(
            f"unknown language code {code!r}; known are {', '.join(sorted(NAMES))}, also with a region or a "
            "script (zh_CN, en-US, zho_Hans); add the language to scripts/grrm/languages.py if it is missing"
        )
    return base


def language_name(code: str) -> str:
    """The English name of a language: Chinese for zh, zh_CN or zho_Hans.

    Raises:
        UserError: the language is not known; the message lists those that are.
    """
    return NAMES[language_code(code)]
