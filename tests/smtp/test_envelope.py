"""Addresses and bodies of every shape: nothing of them becomes a command."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notify.smtp import envelope
from tests.smtp.conftest import Make
from tests.smtp.scripted import Scripted
from tests.smtp.test_connection import Mail

ADDRESSES = st.text(st.sampled_from('ab.@<>"\\ ()[],;:\r\n\t\0éß漢=?')) | st.text() | st.emails()


@given(ADDRESSES)
def test_an_address_is_one_word_or_no_address(text: str) -> None:
    try:
        found = envelope.address(text)
    except ValueError:
        return
    assert not set(found) & set("\r\n\0")
    line = envelope.commands({"smtputf8": ""}, envelope.Envelope(found, [found]))[0]
    assert line.count(b"\r\n") == 1
    local, at, domain = found.rpartition("@")
    assert not at or (local and domain.isascii() and not set(domain) & set(" <>"))


@given(st.emails())
def test_every_address_that_the_standards_know_is_taken(text: str) -> None:
    assert envelope.address(text)


@pytest.mark.parametrize(
    "body", [b"", b".", b"..", b".\r\n", b"\r\n.\r\n", b"a\r\n.b\r\n..c", b".\r\nQUIT\r\n.\r\n", b"\r\n"]
)
def test_every_body_arrives_as_it_was(make_backend: Make, body: bytes) -> None:
    with Scripted() as relay:
        assert make_backend(relay.port).send_messages([Mail(data=b"X: y\r\n\r\n" + body)]) == 1
    (received,) = relay.bodies
    lines = [line[1:] if line.startswith(b".") else line for line in received.split(b"\r\n")]
    assert b"\r\n".join(lines).removesuffix(b"\r\n") == (b"X: y\r\n\r\n" + body).removesuffix(b"\r\n")
    assert relay.verbs == ["EHLO", "MAIL", "RCPT", "DATA", "QUIT"]
