"""The mails as HTML: valid, and made of what mail programs understand."""

import json
import subprocess
from pathlib import Path

import pytest
from django.core.mail import EmailMultiAlternatives

from tests.samples import html_of

HERE = Path(__file__).resolve().parent
PROGRAMS = ["gmail.*", "outlook.*", "apple-mail.*"]  # caniemail knows neither QQ nor 163
# What some do not support, and what a reader sees there.
WITHOUT = {
    "<style> element": "light colours in a dark program",
    "@media": "light colours in a dark program",
    "border-radius": "a button with corners",
    "<body> element": "its colour and margin, which the table in it has too",
    "role attribute": "the same, to those who see; Mail of Windows 10, which ended in 2024",
    "aria-label attribute": "the same, to those who see; Mail of Windows 10",
}
OF_ONE_PROGRAM = {
    ("gmail.mobile-webmail", "display:none"): "the preheader as a first line",
    ("outlook.windows-mail", "word-break"): "a long link sticks out; Mail of Windows 10",
}


@pytest.mark.service("html-validate")
def test_every_mail_is_valid(mails: dict[str, EmailMultiAlternatives], tmp_path: Path) -> None:
    for name, message in mails.items():
        (tmp_path / f"{name}.html").write_text(html_of(message))
    program = HERE.parent / "node/node_modules/.bin/html-validate"
    config = HERE / "htmlvalidate.json"
    done = subprocess.run([program, "--config", config, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def unsupported(page: str) -> set[tuple[str, str]]:
    done = subprocess.run(
        ["node", HERE / "caniemail.mjs", *PROGRAMS], input=page, capture_output=True, text=True, check=True
    )
    return {(program, feature) for program, feature in json.loads(done.stdout)}


@pytest.mark.service("caniemail")
def test_every_mail_is_made_of_what_gmail_outlook_and_apple_mail_know(
    mails: dict[str, EmailMultiAlternatives],
) -> None:
    for name, message in mails.items():
        found = unsupported(html_of(message))
        assert not {each for each in found if each[1] not in WITHOUT and each not in OF_ONE_PROGRAM}, name


@pytest.mark.service("caniemail")
def test_what_is_not_supported_would_be_found() -> None:
    assert ("outlook.windows", "<bdi> element") in unsupported("<bdi>Ann</bdi>")
