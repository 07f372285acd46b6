"""Replies kept aside: nobody has a rule for them, so they are shown as they came, without a guess."""

import io
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from django.core.management import call_command

from notify import dispatch
from notify.delivery.worker import deliver_due
from notify.models import Attempt, Message
from notify.smtp.diagnosis.rules import diagnose
from notify.smtp.failure import Failure
from tests.delivery.test_claims import queue
from tests.smtp.scripted import Scripted

# verb, code, the words, their encoding
REPLIES = [
    ("greeting", 554, "mx7 ESMTP not accepting connections from your country", "ascii"),
    ("greeting", 554, "Aus Ihrem Netz nehmen wir derzeit nichts entgegen (Grund: Prüfung läuft)", "utf-8"),
    ("greeting", 450, "4.3.2 Please come back during office hours", "ascii"),
    ("AUTH", 432, "4.7.12 A password transition is needed", "ascii"),
    ("AUTH", 454, "4.7.0 Temporary authentication failure: Connection lost to authentication server", "ascii"),
    ("AUTH", 550, "Compte suspendu, veuillez contacter le support (réf. 8812-B)", "latin-1"),
    ("MAIL", 550, "5.1.8 Sender domain has no MX and no A, we are sorry", "ascii"),
    ("MAIL", 553, "5.7.1 Отправитель отклонён политикой домена", "utf-8"),
    ("MAIL", 452, "4.4.5 Insufficient disk space; try again later", "ascii"),
    ("RCPT", 550, "收件人拒绝接收来自该域的邮件，编号 20261123", "gbk"),
    ("RCPT", 550, "宛先のメールサーバーがメッセージを拒否しました", "utf-8"),
    ("RCPT", 451, "4.4.6 Routing loop detected (G16)", "ascii"),
    ("DATA", 503, "5.5.0 Data segment closed by moderation queue", "ascii"),
    (".", 554, "5.6.0 Message content rejected, id=12345-07 - BANNED: multipart/mixed", "ascii"),
    (".", 550, "El mensaje no cumple la política de esta organización", "latin-1"),
    (".", 571, "5.7.1 Refused by rule 4.2.0 (ref 5.3.4711)", "ascii"),
    (".", 550, "Line one of a long story\n5.7.1 line two\nand the end of it", "ascii"),
    (".", 550, '<script>alert(1)</script> & "quotes" 100%', "ascii"),
]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("verb", "code", "said", "encoding"), REPLIES)
def test_it_is_shown_as_it_came_and_kept_without_a_cause(
    use_transport: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    verb: str,
    code: int,
    said: str,
    encoding: str,
) -> None:
    monkeypatch.setattr(dispatch, "disable", lambda: None)
    words = f"{code} {said}".replace("\n", " ")
    *first, last = said.split("\n")
    lines = [*(f"{code}-{line}\r\n" for line in first), f"{code} {last}\r\n"]
    with Scripted({verb: "".join(lines).encode(encoding)}, extensions=("AUTH PLAIN",)) as relay:
        login = {"username": "ann@example.com", "password": "secret"}
        plan = {"host": "127.0.0.1", "port": relay.port, "use_tls": False, "use_ssl": False, "timeout": 5}
        use_transport("notify.smtp.backend.EmailBackend", **plan, **login)
        text, facts = run(), json.loads(run("--json"))
        queue()
        deliver_due()
    [problem] = facts["problems"]
    assert problem["words"].removeprefix("admin@example.com: ") == words
    assert (problem["cause"], problem["fix"], problem["diagnosis"]) == ("", "", "")
    assert f"server said: {problem['words']}\n" in text
    assert "cause:" not in text
    assert "fix:" not in text
    attempt = Attempt.objects.get()
    assert (f"{attempt.code} {attempt.text}", attempt.diagnosis) == (words, "")
    assert (Message.objects.get().reply, Message.objects.get().diagnosis) == (words, "")


@pytest.mark.parametrize("phase", ["greeting", "ehlo", "tls", "sender", "recipient", "data", "end"])
@pytest.mark.parametrize("code", [421, 450, 451, 452, 500, 501, 550, 551, 552, 553, 554])
def test_a_code_alone_tells_no_cause(phase: str, code: int) -> None:
    assert diagnose(Failure(phase=phase, code=code, text="Xyzzy")) is None
    assert diagnose(Failure(phase=phase, code=code, text="")) is None


def run(*options: str) -> str:
    out: Any = io.StringIO()
    with suppress(SystemExit):
        call_command("sendtestmail", *options, stdout=out)
    printed: str = out.getvalue()
    return printed
