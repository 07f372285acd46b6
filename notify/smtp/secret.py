"""Secrets: texts that are used and never shown, and how they are masked in what servers reply.

What is masked: every run that shares SHARED characters or more with a secret, in any case of letters, as it is, in
base64 (at any offset), in hexadecimal, percent-encoded, escaped for HTML, JSON, Python or C, and with blanks or
punctuation between its letters. Base64 and hexadecimal are masked as whole words: nothing is left to guess from.
A secret shorter than SHARED is masked where it is a whole word, and in base64: so few letters also occur by chance.
Takes time in proportion to the length of the text.
"""

import base64
import binascii
import html
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

MASK = "***"
SHARED = 6  # characters
_SHORTEST_IN_OTHERS = 4  # characters of a short secret that is looked for in the middle of decoded base64
_ESCAPES_IN_ESCAPES = 3
_WORD = re.compile(r"[A-Za-z0-9+/_=-]{4,}")  # of base64 in both its alphabets, and of hexadecimal
_URLSAFE = str.maketrans("+/", "-_")
_ESCAPE = re.compile(
    r"""(?P<bytes>(?:(?:%|=|0x|\\x)[0-9a-f]{2})+ | (?:\\[0-3][0-7]{2})+)
    | (?P<units>(?:\\u[0-9a-f]{4})+)
    | (?P<point>\\U[0-9a-f]{8} | \\u\{[0-9a-f]{1,6}\})
    | (?P<entity>&(?:\#[0-9]{1,7}|\#x[0-9a-f]{1,6}|[a-z][a-z0-9]{1,30});)
    | \\(?P<one>["'\\/bfnrt])""",
    re.IGNORECASE | re.VERBOSE,
)
_BYTE = re.compile(r"(?:%|=|0x|\\x)([0-9a-f]{2})|\\([0-7]{3})", re.IGNORECASE)
# What may stand between the letters of a secret that is looked for: nothing, blanks and what is not seen, or anything.
_DROPPED = (
    re.compile("(?!)"),
    re.compile(
        "[\\s\\x00-\\x1f\\x7f-\\x9f\\xad\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\ufeff\\ufffd\\ud800-\\udfff]+"
    ),
    re.compile(r"[\W_]+"),
)
_ONE = dict(zip("bfnrt", "\b\f\n\r\t", strict=True))


class Secret(str):
    """A text whose repr is a mask: error pages, logs and tracebacks show the repr of what they find."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(MASK)


def hush(text: str, secrets: Iterable[str]) -> str:
    """The text with all that it shares with a secret masked: see above."""
    wanted = [str(secret) for secret in secrets if secret]
    if not wanted or not text:
        return text
    hidden, encoded = bytearray(len(text)), bytearray(len(text))
    short = [secret for secret in wanted if len(secret) < SHARED]
    grams = _grams(tuple(secret for secret in wanted if len(secret) >= SHARED))
    for reading in _readings(text):
        for secret in short:
            _find_word(reading, secret, hidden)
        _find_shared(reading, grams, hidden, encoded)
    if short or any(encoded):
        for word in _WORD.finditer(text):
            if encoded.find(1, *word.span()) >= 0 or any(_holds(word[0], secret) for secret in short):
                _mark(hidden, *word.span())
    if not any(hidden):
        return text
    runs = groupby(zip(text, hidden, strict=True), key=itemgetter(1))
    return "".join(MASK if masked else "".join(letter for letter, _ in run) for masked, run in runs)


class _Reading(NamedTuple):
    """The letters that are read in a text, where in it each begins, and where the text ends."""

    letters: str
    edges: Sequence[int]

    def span(self, first: int, last: int) -> tuple[int, int]:
        """Where in the text the letters `first` to `last` are written."""
        return self.edges[first], self.edges[bisect_right(self.edges, self.edges[last])]


def _readings(text: str) -> Iterator[_Reading]:
    """The text as it is; and while it holds escapes, with them undone."""
    reading = _Reading(text, range(len(text) + 1))
    yield reading
    for _ in range(_ESCAPES_IN_ESCAPES):
        if not _ESCAPE.search(reading.letters):
            return
        reading = _unescaped(reading)
        yield reading


def _unescaped(reading: _Reading) -> _Reading:
    letters, edges, done = [], [], 0  # type: list[str], list[int], int
    for escape in _ESCAPE.finditer(reading.letters):
        letters.append(reading.letters[done : escape.start()])
        edges += reading.edges[done : escape.start()]
        for letter, place in _meant(escape):
            letters.append(letter)
            edges.append(reading.edges[place])
        done = escape.end()
    return _Reading("".join([*letters, reading.letters[done:]]), [*edges, *reading.edges[done:]])


def _meant(escape: re.Match[str]) -> Iterator[tuple[str, int]]:
    """The letters that an escape, or a run of them, means, each with the place where it begins."""
    start = escape.start()
    if escape["bytes"]:
        units = list(_BYTE.finditer(escape[0]))
        raw = bytes(int(unit[1], 16) if unit[1] else int(unit[2], 8) for unit in units)
        try:
            text, encoding = raw.decode(), "utf-8"
        except UnicodeDecodeError:
            text, encoding = raw.decode("latin-1"), "latin-1"
        place = 0
        for letter in text:
            yield letter, start + units[place].start()
            place += len(letter.encode(encoding))
    elif escape["units"]:
        raw = bytes.fromhex(escape["units"].replace("\\u", "").replace("\\U", ""))
        for letter in raw.decode("utf-16-be", "surrogatepass"):
            yield letter, start
            start += 12 if ord(letter) > 0xFFFF else 6
    elif escape["point"]:
        point = int(escape["point"].strip("\\uU{}"), 16)
        yield chr(point) if point <= 0x10FFFF else "\ufffd", start
    else:
        meant = html.unescape(escape["entity"]) if escape["entity"] else _ONE.get(escape["one"], escape["one"])
        for letter in meant:
            yield letter, start


def _find_shared(reading: _Reading, grams: Sequence[Mapping[str, bool]], hidden: bytearray, encoded: bytearray) -> None:
    folded = _folded(reading.letters)
    for dropped, wanted in zip(_DROPPED, grams, strict=True):
        left = dropped.sub("", folded)
        found = [first for first in range(len(left) - SHARED + 1) if left[first : first + SHARED] in wanted]
        if not found:
            continue
        places = [place for place, letter in enumerate(folded) if not dropped.match(letter)]
        for first in found:
            span = reading.span(places[first], places[first + SHARED - 1])
            _mark(hidden, *span)
            if wanted[left[first : first + SHARED]]:
                _mark(encoded, *span)


def _find_word(reading: _Reading, secret: str, hidden: bytearray) -> None:
    for found in re.finditer(rf"(?<![^\W_]){re.escape(_folded(secret))}(?![^\W_])", _folded(reading.letters)):
        _mark(hidden, *reading.span(found.start(), found.end() - 1))


def _mark(places: bytearray, begin: int, end: int) -> None:
    places[begin:end] = b"\1" * (end - begin)


@lru_cache(maxsize=64)  # every reply of every relay is looked through
def _grams(secrets: tuple[str, ...]) -> list[dict[str, bool]]:
    """For each of _DROPPED the runs of SHARED letters in all writings of the secrets → whether that is an encoding."""
    encoded = [_folded(each) for secret in secrets for each in _encoded(secret.encode("utf-8", "surrogatepass"))]
    # The second: as it looks if UTF-8 was decoded as another encoding.
    plain = [
        _folded(each) for secret in secrets for each in (secret, secret.encode("utf-8", "replace").decode("latin-1"))
    ]
    return [
        dict.fromkeys(_cut(plain, dropped), False) | dict.fromkeys(_cut(encoded, dropped), True) for dropped in _DROPPED
    ]


def _encoded(raw: bytes) -> Iterator[str]:
    """In hexadecimal, and in base64 at each offset, without the letters that depend on what is beside the secret."""
    yield raw.hex()
    for before in range(3):
        letters = base64.b64encode(bytes(before) + raw).decode()
        whole = letters[-(-before * 8 // 6) : (before + len(raw)) * 8 // 6]
        yield whole
        yield whole.translate(_URLSAFE)


def _cut(texts: list[str], dropped: re.Pattern[str]) -> Iterator[str]:
    """All runs of SHARED letters."""
    for text in texts:
        left = dropped.sub("", text)
        yield from (left[place : place + SHARED] for place in range(len(left) - SHARED + 1))


def _folded(text: str) -> str:
    """In lower case, letter by letter, so that the length stays the same."""
    lower = text.lower()
    if len(lower) == len(text):
        return lower
    return "".join([low if len(low := letter.lower()) == 1 else letter for letter in text])


def _holds(run: str, secret: str) -> bool:
    """Whether the word, perhaps without some letters at its start, is base64 of the short secret."""
    plain = secret.encode("utf-8", "surrogatepass")
    for start in range(4):
        letters = run[start:].rstrip("=").translate(str.maketrans("-_", "+/"))
        try:
            decoded = base64.b64decode(letters + "=" * (-len(letters) % 4))
        except binascii.Error:
            continue
        if plain in (decoded if len(secret) >= _SHORTEST_IN_OTHERS else re.split(rb"[\0: ]", decoded)):
            return True
    return False
