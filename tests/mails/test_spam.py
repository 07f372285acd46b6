"""The mails as a spam filter sees them: SpamAssassin with Debian's rules, without network and without learning."""

import os
import re
import subprocess
from email import message_from_string
from pathlib import Path

import pytest
from django.core.mail import EmailMultiAlternatives

from notify import outbox
from notify.rendering.message import new_message_id, thread_headers

RULES = "/usr/share/spamassassin"  # not what sa-update may have brought: the same everywhere
# What the first relay that takes a mail adds; without it the rules on how a mail came say nothing.
RECEIVED = (
    b"Received: from flasky.example.org (flasky.example.org [93.184.216.34])\r\n"
    b"\tby mx.example.net with ESMTPS id 4F2A11\r\n\tfor <a@example.com>; %s\r\n"
)


def score(message: EmailMultiAlternatives, home: Path) -> tuple[float, str]:
    """Points and the rules that gave them, for the bytes that are sent and the headers of an announcement."""
    message.extra_headers |= thread_headers("new_visitor", new_message_id())
    wire = bytes(outbox.rows_of(message)[0].body.mime)
    [date] = re.findall(rb"(?m)^Date: (.*)\r$", wire)
    done = subprocess.run(
        ["spamassassin", "-L", "-t", "-x", "-C", RULES, "--cf=use_bayes 0"],
        input=RECEIVED % date + wire,
        capture_output=True,
        env={**os.environ, "HOME": str(home)},
        check=True,
    )
    status = " ".join(message_from_string(done.stdout.decode("utf-8", "replace"))["X-Spam-Status"].split())
    [points] = re.findall(r"score=(-?[\d.]+)", status)
    return float(points), status


@pytest.mark.service("spamassassin")
def test_every_mail_scores_at_most_half_a_point(mails: dict[str, EmailMultiAlternatives], tmp_path: Path) -> None:
    for name, message in mails.items():
        points, status = score(message, tmp_path)
        assert points <= 0.5, f"{name}: {status}"


@pytest.mark.service("spamassassin")
def test_what_looks_like_spam_would_be_found(mails: dict[str, EmailMultiAlternatives], tmp_path: Path) -> None:
    message = mails["test"]
    message.body = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
    assert score(message, tmp_path)[0] > 100
