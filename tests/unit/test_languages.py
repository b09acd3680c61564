"""English names of languages."""

import pytest

from grrm.files import UserError
from grrm.languages import NAMES, language_code, language_name


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("en", "English"),
        ("zh", "Chinese"),
        ("de", "German"),
        ("ja", "Japanese"),
        ("ko", "Korean"),
        ("ru", "Russian"),
        ("es", "Spanish"),
        ("fr", "French"),
        ("it", "Italian"),
        ("nl", "Dutch"),
        ("pt", "Portuguese"),
        ("uk", "Ukrainian"),
        ("cs", "Czech"),
        ("is", "Icelandic"),
        ("xx", "xx"),
        ("yy", "yy"),
    ],
)
def test_language_name(code, name):
    assert language_name(code) == name


@pytest.mark.parametrize(
    "code", ["zh", "ZH", "zh_CN", "zh-TW", "zh-Hans-CN", "zho", "zho_Hans", "cmn", "chi", "zh_hant_hk"]
)
def test_region_and_script_are_dropped(code):
    assert language_code(code) == "zh"


@pytest.mark.parametrize("code", ["", "e", "english", "qq", "zz_CN", "zh_", "_zh", "z h", "中文", "en--US"])
def test_an_unknown_code_is_named_and_the_known_ones_listed(code):
    with pytest.raises(UserError, match=r"unknown language code") as caught:
        language_name(code)
    assert repr(code) in str(caught.value)
    assert all(known in str(caught.value) for known in ("cs", "en", "zh", "xx"))


def test_every_code_means_itself():
    assert all(language_code(code) == code for code in NAMES)


def test_no_language_is_named_twice():
    assert len(set(NAMES.values())) == len(NAMES)
