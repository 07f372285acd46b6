"""Envelopes that travel with the body before them, as real servers take them (RFC 2920)."""

from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from notify.delivery import transport
from notify.delivery.claims import Claimed
from notify.delivery.session import Session
from notify.smtp.failure import from_exception
from tests.services.exim import Exim
from tests.services.maildir import Maildir
from tests.services.postfix import Postfix

NAMES = [*(f"u{number}" for number in range(10)), "nobody", *(f"v{number}" for number in range(10))]


def claimed(number: int, name: str) -> Claimed:
    mime = f"Message-ID: <{number}@example.com>\r\nSubject: {name}\r\n\r\n.{name}\r\n..\r\n".encode() * (1 + number % 3)
    return Claimed(number, "flasky@example.com", f"{name}@example.com", mime, 0, "t", False, 1e9)


def send_all(port: int, use_transport: Callable[..., None]) -> tuple[int, list[str]]:
    """Send NAMES over one session; returns the connections it took and what was refused."""
    use_transport("notify.smtp.backend.EmailBackend", host="127.0.0.1", port=port, timeout=10)
    opened, refused, connect = 0, [], transport.connect
    messages: list[Any] = [claimed(number, name) for number, name in enumerate(NAMES)]

    def counted() -> Any:
        nonlocal opened
        opened += 1
        return connect()

    with closing(Session()) as session, pytest.MonkeyPatch.context() as patch:
        patch.setattr(transport, "connect", counted)
        for message, following in zip(messages, [*messages[1:], None], strict=True):
            try:
                session.send(message, following=following)
            except OSError as error:
                refused.append(f"{message.recipient}: {from_exception(error).phase}")
    return opened, refused


def check(maildir: Maildir, names: list[str]) -> None:
    mails = maildir.wait_for(len(names))
    assert sorted(mail["Subject"] for mail in mails) == sorted(names)
    for mail in mails:
        assert mail.get_payload().startswith(f".{mail['Subject']}\n..\n")


@pytest.mark.service("postfix")
def test_postfix_takes_them(use_transport: Callable[..., None], postfix: Postfix) -> None:
    assert send_all(postfix.port, use_transport) == (1, [])
    check(postfix.maildir, NAMES)


@pytest.mark.service("exim")
def test_exim_takes_them_and_refuses_one_for_itself(
    use_transport: Callable[..., None], make_exim: Callable[..., Exim]
) -> None:
    exim = make_exim()
    assert send_all(exim.port, use_transport) == (2, ["nobody@example.com: recipient"])
    check(exim.maildir, [name for name in NAMES if name != "nobody"])
    assert "synchronization error" not in exim.log()
