"""What a name may be."""

import unicodedata

import pytest
from django.core.exceptions import ValidationError
from hypothesis import given
from hypothesis import strategies as st

from notify.visitors import names

GOOD = {
    "Chinese": "李小龙",
    "Chinese, with a dot": "买买提·艾力",
    "an ideograph of plane 2": "𠮷野家",
    "an ideograph newer than this Python": "李\U000323af",
    "a variation of an ideograph": "葛\U000e0100城",
    "Japanese": "さくら ももこ",
    "Korean": "김철수",
    "Arabic": "محمد عبد الله",
    "Arabic with vowels": "مُحَمَّد",
    "Hebrew": "שרה כהן",
    "Hebrew with points": "שָׂרָה",
    "Persian with ZWNJ": "علی\u200cرضا",
    "Devanagari": "प्रिया शर्मा",
    "Devanagari with ZWJ": "शक्\u200dति",
    "Devanagari with ZWNJ": "राम्\u200cकुमार",
    "Bengali with ZWJ before the virama": "র\u200d্যাচেল",
    "Malayalam with ZWJ at the end of words": "മോഹന്\u200d ലാല്\u200d",
    "Sinhala": "ශ්\u200dරී",
    "Tamil": "ரஜினிகாந்த்",
    "Thai": "ณัฐวุฒิ สุขใจ",
    "Thai with stacked marks": "น้ำผึ้ง ตี๋",
    "Khmer": "សុខ សុភាព",
    "Burmese": "အောင်ဆန်းစုကြည်",
    "Tibetan": "བསྟན་འཛིན་རྒྱ་མཚོ",
    "Mongolian with a selector": "ᠠ\u180bᠨᠠ",
    "Vietnamese": "Nguyễn Thị Ánh",
    "Yoruba": "Adébáyọ̀ Ọlá",
    "Cyrillic": "Володимир Щур",
    "Greek": "Ἀριστοτέλης",
    "Armenian": "Արամ",
    "Georgian": "ნინო",
    "Amharic": "አበበ ቢቂላ",
    "Cherokee": "ᏍᏏᏉᏯ",
    "Icelandic": "Þórður Ægisson",
    "Hawaiian": "Kaʻiulani",
    "an apostrophe": "O'Brien",
    "a typographic apostrophe": "D’Artagnan",
    "hyphens": "Jean-Luc Marie-Claire",
    "dots": "J. R. R. Tolkien",
    "dots without blanks": "J.R.R. Tolkien",
    "a comma": "Martin Luther King, Jr.",
    "digits": "R2-D2",
    "one letter": "O",
    "HTML, which is text here": "<b>Ann</b>",
    "an emoji beside letters": "Ann 🌸",
    "emoji of several characters": "Ann 👩🏽\u200d🚀 ❤\ufe0f",
    "long": "Wolfeschlegelsteinhausenbergerdorff Maximilian von und zu Hohen",
    "as long as can be": "x" * 64,
}
BAD = {
    "": "required",
    "x" * 65: "too_long",
    "Ann\nBcc: x": "forbidden",
    "Ann\r\nBcc: x": "forbidden",
    "Ann\x1cBob": "forbidden",
    "Ann\x85Bob": "forbidden",
    "Ann\u2028Bob": "forbidden",
    "A\0nn": "forbidden",
    "A\x7fnn": "forbidden",
    "A\x1bnn": "forbidden",
    "Ann\u202egnp.exe": "forbidden",
    "Ann\u2066": "forbidden",
    "\u200fAnn": "forbidden",
    "\u061cAnn": "forbidden",
    "A\u200bnn": "forbidden",
    "A\ufeffnn": "forbidden",
    "A\u2060nn": "forbidden",
    "A\u00adnn": "forbidden",
    "\u3164": "forbidden",
    "Ann\u2800": "forbidden",
    "\u115f\u1160": "forbidden",
    "\uffa0": "forbidden",
    "A\u034fnn": "forbidden",
    "A\ue000nn": "forbidden",
    "A\U000f0000": "forbidden",
    "A\u0378": "forbidden",
    "A\uffff": "forbidden",
    "李\U0002ffff": "forbidden",
    "A\ud800": "forbidden",
    "A\U000e0041": "forbidden",
    "Ann\ufffd": "forbidden",
    "A" + "\u0335" * 5: "marks",
    "\u0301Ann": "marks",
    "Ann \u0301": "marks",
    "\u093eराम": "marks",
    "A\u200dnn": "marks",
    "A\u200cnn": "marks",
    "李\u200d小": "marks",
    "علی\u200c": "marks",
    "\u200dAnn": "marks",
    "علی\u200c\u200cرضا": "marks",
    "Ann\ufe0f": "marks",
    "Ann\U000e0100": "marks",
    "http://evil.example": "link",
    "ftp://x": "link",
    "www.example.com": "link",
    "WWW.example.com": "link",
    "...": "no_letter",
    "123": "no_letter",
    "🌸": "no_letter",
    "'": "no_letter",
}


@pytest.mark.parametrize("name", GOOD.values(), ids=GOOD.keys())
def test_names_of_people_pass_and_are_kept_as_typed(name: str) -> None:
    assert names.take(name) == unicodedata.normalize("NFC", name)


@pytest.mark.parametrize(("name", "code"), BAD.items(), ids=[ascii(name)[:30] for name in BAD])
def test_what_is_no_name_is_refused_with_its_own_word(name: str, code: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        names.take(name)
    assert refusal.value.code == code


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("  Ann  ", "Ann"),
        ("Ann\t \u3000\u00a0Bob", "Ann Bob"),
        ("Ann\r\n", "Ann"),
        ("Nguye\u0302\u0303n", "Nguyễn"),
        (" " * 500 + "Ann", "Ann"),
        ("e\u0301" * 64, "é" * 64),
    ],
)
def test_blanks_and_composition_do_not_make_another_name(typed: str, kept: str) -> None:
    assert names.take(typed) == kept


def test_what_is_absurdly_long_is_refused_before_it_is_folded() -> None:
    with pytest.raises(ValidationError, match="at most 64 characters"):
        names.take("a" + "\u0301\u0323" * 1_000_000)


@given(st.text(st.characters(exclude_categories=[])))
def test_folding_again_changes_nothing(text: str) -> None:
    assert names.fold(names.fold(text)) == names.fold(text)


@given(st.text(st.characters(exclude_categories=[]), max_size=80))
def test_what_is_taken_is_one_line_of_utf8_and_can_be_taken_again(text: str) -> None:
    try:
        name = names.take(text)
    except ValidationError:
        return
    assert name == names.take(name)
    assert 1 <= len(name) <= names.MAX_LENGTH
    assert len(name.splitlines()) == 1
    assert name.encode().decode() == name


@given(st.text(st.characters(exclude_categories=[])))
def test_what_is_shown_again_can_be_sent(text: str) -> None:
    assert "\0" not in names.printable(text).encode().decode()
