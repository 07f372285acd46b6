"""Previews of mails: each template with sample data, and the problems found in it. Writes no rows."""

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from html.parser import HTMLParser
from typing import Any

from django.core.mail import EmailMultiAlternatives
from django.utils import translation
from django.utils.functional import Promise
from django.utils.translation import gettext as _

from notify import conf
from notify.rendering.message import build

logger = logging.getLogger(__name__)
GMAIL_CLIPS = 102 * 1024  # bytes of HTML after which Gmail hides the rest behind a link
HEAVY = 90_000  # bytes of HTML; from here on a preview warns of that
WIDEST = 600  # pixels that every mail program shows without scrolling
_HOST = re.compile(r"(?i)https?://([^/?#]+)")
Example = Callable[[], Mapping[str, Any]]

_registered: dict[str, "Preview"] = {}


@dataclass(frozen=True)
class Preview:
    """A template's example: `example` returns the context that the code which sends the mail would give."""

    template: str
    subject: str | Promise
    example: Example

    def build(
        self, to: str | Sequence[str], language: str, headers: Mapping[str, str] | None = None
    ) -> EmailMultiAlternatives:
        """The mail, unsent. Raises what the template raises."""
        with translation.override(language):
            subject, context = str(self.subject), self.example()
        return build(to, subject, self.template, context, headers=headers, language=language)


@dataclass(frozen=True)
class Rendered:
    """One mail in one language; `size` is the HTML's in bytes. `error`: why it could not be built, else ""."""

    subject: str
    text: str
    html: str
    size: int
    error: str = ""

    @cached_property
    def complaints(self) -> list[str]:
        """What mail programs and spam filters would object to, in words."""
        return list(_complaints(self))


def _complaints(mail: Rendered) -> Iterator[str]:
    page = _Page()
    page.feed(mail.html)
    if not mail.text.strip():
        yield _("There is no text part, which spam filters penalize.")
    ours = _HOST.match(conf.site_url())
    for link in dict.fromkeys([*page.links, *re.findall(r"https?://[^\s<>\"]+", mail.text)]):
        host = _HOST.match(link)
        if link.lower().startswith("mailto:"):
            continue
        if not host:
            yield _("A link is not absolute, so it does not work in a mail: %s") % (link or '""')
        elif ours and host[1] != ours[1]:
            words = _("A link leads to another host than FLASKY_URL (%(host)s): %(link)s")
            yield conf.named(words) % {"host": ours[1], "link": link}
    sizes = {"size": mail.size, "limit": GMAIL_CLIPS}
    if mail.size > GMAIL_CLIPS:
        yield _("The HTML has %(size)d bytes: Gmail hides what comes after %(limit)d.") % sizes
    elif mail.size > HEAVY:
        yield _("The HTML has %(size)d bytes: with more than %(limit)d Gmail would hide the rest.") % sizes
    for source in page.without_alt:
        yield _("A picture has no alt text: %s") % source
    for width in sorted(page.too_wide):
        words = _("Something is %(width)d px wide; more than %(limit)d px is cut or scrolls on a phone.")
        yield words % {"width": width, "limit": WIDEST}


class _Page(HTMLParser):
    """What the checks need to know about an HTML part."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.without_alt: list[str] = []
        self.too_wide: set[int] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag == "img" and "alt" not in values:
            self.without_alt.append(values.get("src", ""))
        widths = re.findall(r"(?:^|;)\s*(?:min-)?width\s*:\s*(\d+)px", values.get("style", ""))
        widths += re.findall(r"^(\d+)(?:px)?$", values.get("width", ""))
        self.too_wide |= {int(width) for width in widths if int(width) > WIDEST}


def preview(template: str, *, subject: str | Promise) -> Callable[[Example], Example]:
    """Register the decorated function as the example for `<template>.txt` and `<template>.html`."""

    def register(example: Example) -> Example:
        _registered[template] = Preview(template, subject, example)
        return example

    return register


def registered() -> dict[str, Preview]:
    """All previews by template, in the order of their names."""
    return dict(sorted(_registered.items()))


def render(shown: Preview, language: str) -> Rendered:
    """The mail in this language. If its preview raises, the error is in `error`."""
    try:
        built = shown.build("you@example.com", language)
    except Exception as error:
        logger.exception("the preview of %s could not be built", shown.template)
        return Rendered(str(shown.subject), "", "", 0, error=f"{type(error).__name__}: {error}")
    html = str(built.alternatives[0][0])
    return Rendered(str(built.subject), str(built.body), html, len(html.encode()))


def in_scheme(html: str, scheme: str) -> str:
    """The HTML as a reader who prefers `light` or `dark` sees it, whatever this browser prefers.

    Its media queries are made always or never true: the preference of a frame cannot be set.
    """
    query = r"(?i)\(\s*prefers-color-scheme\s*:\s*{}\s*\)"
    html = re.sub(query.format(scheme), "(min-width: 0)", html)
    html = re.sub(query.format("(?:light|dark)"), "(max-width: 0)", html)
    declared = r'(?i)(<meta\s+name="(?:supported-)?color-schemes?"\s+content=")[^"]*(")'
    return re.sub(declared, rf"\g<1>{scheme}\g<2>", html)
