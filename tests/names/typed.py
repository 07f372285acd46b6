"""What people and others type into a field that asks for a name: as many different things as one likes, from a seed."""

import unicodedata
from collections.abc import Callable, Iterator
from random import Random

SCRIPTS = {
    "Latin": (0x41, 0x24F),
    "IPA": (0x250, 0x2AF),
    "Greek": (0x370, 0x3FF),
    "Cyrillic": (0x400, 0x52F),
    "Armenian": (0x531, 0x58F),
    "Hebrew": (0x591, 0x5F4),
    "Arabic": (0x610, 0x6FF),
    "Devanagari": (0x900, 0x97F),
    "Bengali": (0x980, 0x9FE),
    "Tamil": (0xB82, 0xBFA),
    "Malayalam": (0xD00, 0xD7F),
    "Sinhala": (0xD81, 0xDF4),
    "Thai": (0xE01, 0xE5B),
    "Tibetan": (0xF00, 0xFDA),
    "Burmese": (0x1000, 0x109F),
    "Georgian": (0x10A0, 0x10FF),
    "Hangul letters": (0x1100, 0x11FF),
    "Ethiopic": (0x1200, 0x139F),
    "Khmer": (0x1780, 0x17F9),
    "Mongolian": (0x1800, 0x18AA),
    "kana": (0x3041, 0x30FF),
    "Chinese": (0x4E00, 0x9FFF),
    "Hangul": (0xAC00, 0xD7A3),
    "look-alikes in mathematics": (0x1D400, 0x1D7FF),
    "full width": (0xFF01, 0xFFDC),
    "rare ideographs": (0x20000, 0x2A6DF),
}
PEOPLE = (  # noqa: SIM905  (names, not quotes, are to be read here)
    "Ann O'Brien D’Artagnan Zoë Nguyễn Jean-Luc 李小龙 欧阳娜娜 김철수 さくら محمد شرה שרה Ἀριστοτέλης Володимир प्रिया "
    "ரஜினிகாந்த் ณัฐวุฒิ အောင်ဆန်း ნინო አበበ Þórður Kaʻiulani Ó'Súilleabháin علی\u200cرضا शक्\u200dति J.R.R. R2-D2 von zu al-"
).split()
CONTROLS = [chr(code) for code in (*range(0x20), *range(0x7F, 0xA0))]
UNSEEN = [
    *CONTROLS,
    *"\u00ad\u034f\u061c\u115f\u180e\u200b\u200c\u200d\u200e\u200f\u2028\u2029\u202a\u202e\u2060\u2066\u2069\u2800",
    *"\u3164\ufe0f\ufeff\uffa0\ufffc\ufffd\uffff\ud800\udfff\ue000\U000e0001\U000e0041\U000e0100\U0010ffff",
]
BLANKS = [*" \t\u00a0\u1680\u2000\u2003\u2009\u202f\u205f\u3000"]
MARKS = [chr(code) for code in (*range(0x300, 0x370), *range(0x483, 0x48A), *range(0x5B0, 0x5BD), *range(0x64B, 0x653))]
QUOTES = [*"\"'`´‘’‚“”„«»<>&;:,.@()[]{}\\/|%#$*+=?!~^_-–—"]
EMOJI = ["🌸", "👩🏽\u200d🚀", "❤\ufe0f", "🇨🇳", "1\ufe0f\u20e3", "🏴\U000e0067\U000e0062\U000e007f", "😀" * 30]
INJECTIONS = [
    "Ann\r\nBcc: evil@example.com",
    "Ann\nSubject: pwned",
    "Ann\rX-Evil: 1",
    "Ann\r\n\r\n<h1>body</h1>",
    "Ann\r\n.\r\nMAIL FROM:<evil@example.com>",
    "Ann\x0b\x0cBcc: evil@example.com",
    "Ann\x1c\x1d\x1eBcc: evil@example.com",
    "Ann\x85Bcc: evil@example.com",
    "Ann\u2028Bcc: evil@example.com",
    "=?utf-8?q?Ann=0D=0ABcc:_evil@example.com?=",
    "=?utf-8?b?QW5uDQpCY2M6IGV2aWxAZXhhbXBsZS5jb20=?=",
    '"Ann" <evil@example.com>',
    "Ann <evil@example.com>, Bob",
    ".",
    "..Ann",
    "From Ann",
    "-- ",
    "<script>alert(1)</script>",
    '" onfocus="alert(1)',
    "{{ settings.SECRET_KEY }}",
    "{% load i18n %}Ann",
    "%s %(name)s {0}",
    "'; DROP TABLE notify_visitor; --",
    "</bdi></td></tr></table>",
    "--===============1==",
]
LINKS = [
    "http://evil.example",
    "https://xn--fiqs8s",
    "www.evil.example",
    "evil.example.com",
    "ann@evil.example",
    "javascript:x()",
]


def _script(random: Random) -> str:
    low, high = random.choice(list(SCRIPTS.values()))
    return "".join(chr(random.randint(low, high)) for _ in range(random.randint(1, 20)))


def _person(random: Random) -> str:
    return random.choice(["", " ", "-", "·"]).join(random.choices(PEOPLE, k=random.randint(1, 4)))


def _anything(random: Random) -> str:
    return "".join(chr(random.randint(0, 0x10FFFF)) for _ in range(random.randint(0, 12)))


def _long(random: Random) -> str:
    return (_person(random) + random.choice(["", " ", "\u0301"])) * random.choice([1, 3, 9, 40, 400])


MAKERS: list[Callable[[Random], str]] = [
    _person,
    _person,
    _script,
    _script,
    _anything,
    _long,
    lambda random: random.choice(INJECTIONS),
    lambda random: random.choice(LINKS),
    lambda random: random.choice(EMOJI) + _person(random),
]


def _spoilt(random: Random, name: str) -> str:
    """With something in it that is not seen, belongs to no name, or is only another way to write it."""
    for _ in range(random.choice([0, 1, 1, 2, 5])):
        where = random.randint(0, len(name))
        added = random.choice(random.choice([UNSEEN, BLANKS, MARKS, QUOTES, EMOJI]))
        name = name[:where] + added * random.choice([1, 1, 1, 6]) + name[where:]
    form = random.choice([None, None, "NFC", "NFD", "NFKC"])
    return unicodedata.normalize(form, name) if form else name  # type: ignore[arg-type]


def typed(seed: int) -> Iterator[str]:
    """Without an end; the same for the same seed."""
    random = Random(seed)
    while True:
        name = random.choice(MAKERS)(random)
        if random.random() < 0.1:
            name += random.choice(MAKERS)(random)
        yield _spoilt(random, name) if random.random() < 0.6 else name
