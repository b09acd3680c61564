"""Translations in another language than asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from grrm.metrics.language import can_tell, is_off_target
from grrm.metrics.translation import score_translations

SAMPLE = yaml.safe_load(
    (Path(__file__).parents[2] / "config/sample/translations.yaml").read_text(encoding="utf-8")
)
ENGLISH = "The meeting was moved to Thursday because the hall is being painted."
SENTENCES = {
    "de": "Die Sitzung wurde auf Donnerstag verlegt, weil der Saal gerade gestrichen wird.",
    "en": ENGLISH,
    "es": "La reunión se ha pasado al jueves porque están pintando la sala.",
    "fr": "La réunion a été reportée à jeudi parce que la salle est en cours de peinture.",
    "it": "La riunione è stata spostata a giovedì perché stanno dipingendo la sala.",
    "nl": "De vergadering is verplaatst naar donderdag omdat de zaal wordt geschilderd.",
    "pt": "A reunião foi adiada para quinta-feira porque a sala está a ser pintada.",
    "ru": "Собрание перенесли на четверг, потому что зал сейчас красят и мыть его рано.",
    "uk": "Збори перенесли на четвер, бо її залу зараз фарбують і їй ще сохнути.",
    "zh": "会议改到星期四，因为礼堂正在粉刷。",
    "ja": "会議は木曜日に変更されました。ホールを塗装しているためです。",
    "ko": "강당을 칠하는 중이라 회의가 목요일로 옮겨졌습니다.",
}


ROMANCE = {"es", "fr", "it", "pt"}  # near enough to each other for doubts


@pytest.mark.parametrize("language", SENTENCES)
def test_a_sentence_is_in_its_own_language_and_in_no_other(language: str) -> None:
    assert is_off_target(SENTENCES[language], language) is False
    for other in SENTENCES.keys() - {language}:
        verdict = is_off_target(SENTENCES[language], other)
        assert verdict or {language, other} <= ROMANCE, other


def test_no_reference_of_the_sample_is_called_wrong() -> None:
    wrong = [
        text
        for row in SAMPLE
        for text, language in zip((row["source"], row["translation"]), row["pair"].split("-"), strict=True)
        if is_off_target(text, language)
    ]
    assert wrong == []


@pytest.mark.parametrize("text", ["", "42 %", "OK", "Angela Merkel", "Paris, Berlin, Madrid"])
def test_what_cannot_be_told_is_not_guessed(text: str) -> None:
    assert is_off_target(text, "de") is None


def test_names_in_latin_letters_do_not_make_a_chinese_sentence_foreign() -> None:
    assert is_off_target("我用 Python 和 TensorFlow 写了这个 Kubernetes 控制器。", "zh_CN") is False


def test_languages_outside_the_lists_are_not_judged() -> None:
    assert not can_tell("sv")
    assert not can_tell("yy")
    assert "off_target_rate" not in score_translations(["ba du"], ["ba gi"], "yy")


def test_the_rate_is_over_translations_whose_language_can_be_told() -> None:
    metrics = score_translations([SENTENCES["de"], ENGLISH, "42", None], ["a"] * 4, "de")
    assert metrics["off_target_rate"][0].value == 0.5


@pytest.mark.parametrize(
    ("language", "right", "wrong"),
    [
        ("sr_Latn", "Dobro jutro svima", "Добро јутро свима"),
        ("sr", "Добро јутро свима", "Dobro jutro svima"),
        ("pa_Arab", "سویر دا سلام سب نوں", "ਸਭ ਨੂੰ ਸ਼ੁਭ ਸਵੇਰ"),
        ("pa", "ਸਭ ਨੂੰ ਸ਼ੁਭ ਸਵੇਰ", "سویر دا سلام سب نوں"),
        ("kk_Latn", "Barlygynyzga qaiyrly tan", "Барлығыңызға қайырлы таң"),
        ("hi_Latn", "aap sabhi ko suprabhat", "आप सभी को सुप्रभात"),
        ("uz_Cyrl", "Хайрли тонг ҳаммага", "Hayrli tong hammaga"),
        ("zh_TW", "大家早安，今天天氣很好", "Good morning everybody"),
        ("my", "အားလုံးမင်္ဂလာနံနက်ခင်းပါ", "Good morning everybody"),
        ("am", "እንደምን አደራችሁ ሁላችሁም", "Good morning everybody"),
        ("or", "ସମସ୍ତଙ୍କୁ ଶୁଭ ସକାଳ", "Good morning everybody"),
        ("ckb", "بەیانی باش هەمووان", "Good morning everybody"),
    ],
)
def test_the_script_of_the_tag_is_the_right_one(language: str, right: str, wrong: str) -> None:
    assert can_tell(language)
    assert is_off_target(right, language) is False
    assert is_off_target(wrong, language) is True
