"""Mails to look at before anybody gets them: each template with made-up data, and no row of the database touched."""

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.core.mail import EmailMultiAlternatives
from django.utils import translation
from django.utils.functional import Promise

from notify.rendering.message import build

logger = logging.getLogger(__name__)
GMAIL_CLIPS = 102 * 1024  # bytes of HTML after which Gmail hides the rest behind a link
Example = Callable[[], Mapping[str, Any]]

_registered: dict[str, "Preview"] = {}


@dataclass(frozen=True)
class Preview:
    """A template's example: `example` returns the context that the code which sends the mail would give."""

    template: str
    subject: str | Promise
    example: Example

    def build(self, to: str, language: str, headers: Mapping[str, str] | None = None) -> EmailMultiAlternatives:
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

    @property
    def clipped(self) -> bool:
        return self.size > GMAIL_CLIPS


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
    """What the mail would say. A preview that raises is shown as its error."""
    try:
        built = shown.build("you@example.com", language)
    except Exception as error:
        logger.exception("the preview of %s could not be built", shown.template)
        return Rendered(str(shown.subject), "", "", 0, error=f"{type(error).__name__}: {error}")
    html = str(built.alternatives[0][0])
    return Rendered(str(built.subject), str(built.body), html, len(html.encode()))


def in_scheme(html: str, scheme: str) -> str:
    """The HTML as it looks where the reader prefers `light` or `dark`, whatever this browser's user prefers.

    Its media queries are made to hold always or never: a frame cannot be told what to prefer.
    """
    always, never = "(min-width: 0)", "(max-width: 0)"

    def decide(match: re.Match[str]) -> str:
        return always if match[1].lower() == scheme else never

    html = re.sub(r"(?i)\(\s*prefers-color-scheme\s*:\s*(light|dark)\s*\)", decide, html)
    declared = re.compile(r'(?i)(<meta\s+name="(?:supported-)?color-schemes?"\s+content=")[^"]*(")')
    return declared.sub(rf"\g<1>{scheme}\g<2>", html)
