r"""Reads a .env file, of these lines; any other line is an error of one line.

    NAME=value          the value extends to the end of the line, without surrounding blanks; a # is part of it
    NAME='value'  # …   exactly what is between the quotes; a comment may follow
    NAME="value"  # …   the same, with \" for a quote and \\ for a backslash

`export` may precede a name; a line that begins with # is a comment. A byte order mark and Windows line ends are
accepted. No value is ever shown: it may be a password. python-dotenv and django-environ skip lines that they do not
understand.
"""

import re
from pathlib import Path
from typing import NamedTuple

from django.core.exceptions import ImproperlyConfigured

_LINE = re.compile(r"(?:export )?([A-Za-z_0-9]+)=(.*)")
_NAME = re.compile(r"\s*(?:export )?([A-Z_]*)\b")
_SINGLE = re.compile(r"'([^']*)'\s*(?:#.*)?")
_DOUBLE = re.compile(r'"((?:[^"\\]|\\.)*)"\s*(?:#.*)?')
_CURLY = "“”„‟‘’‚‛«»「」『』＂＇`´"


class Line(NamedTuple):
    """`has_hash`: the value holds a blank and a #, which may have been meant as a comment."""

    number: int
    name: str
    value: str
    has_hash: bool


def read(path: Path) -> list[Line]:
    """The file's variables, in order; none if there is no file. Raises ImproperlyConfigured."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ImproperlyConfigured(f"{path.name} cannot be read: {error}") from error
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise ImproperlyConfigured(f"{path.name} cannot be read: it is in UTF-16; save it as UTF-8")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        at = raw[: error.start].count(b"\n") + 1
        raise ImproperlyConfigured(f"{path.name} cannot be read: line {at} is not UTF-8; save it as UTF-8") from None
    lines = enumerate(re.split("\r\n|\n|\r", text), 1)
    return [_parse(line, number, path.name) for number, line in lines if line.strip() and line.lstrip()[0] != "#"]


def _parse(line: str, number: int, file: str) -> Line:
    found = _LINE.fullmatch(line)
    if not found or "\0" in line:
        # Only what looks like a name is shown: the rest may be a password.
        name = _NAME.match(line)
        shown = f" ({name[1]!r})" if name and name[1] else ""
        rule = "write an ASCII = instead of ＝" if "＝" in line else "no space before the name or around the ="
        raise ImproperlyConfigured(f"{file} line {number}{shown} is not NAME=value: {rule}")
    variable, value = found[1], found[2].strip()
    where = f"{variable} ({file} line {number})"
    if value[:1] in ("'", '"'):
        return Line(number, variable, _unquoted(value, where), has_hash=False)
    if value and value[0] in _CURLY:
        raise ImproperlyConfigured(f"{where} begins with {value[0]}: write straight quotes (' or \"), or none")
    return Line(number, variable, value, has_hash=bool(re.search(r"\s#", value)))


def _unquoted(value: str, where: str) -> str:
    quote = value[0]
    if found := (_SINGLE if quote == "'" else _DOUBLE).fullmatch(value):
        inner = found[1]
    elif len(value) > 1 and value[-1] == quote:  # quotes within quotes
        inner = value[1:-1]
    else:
        raise ImproperlyConfigured(
            f"{where} begins with {quote} and does not end with it: quote the whole value, or nothing; "
            "only a # comment may follow"
        )
    return inner if quote == "'" else re.sub(r"\\([^rnt])", r"\1", inner)
