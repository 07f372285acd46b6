"""MAIL_BACKEND=inbox: what is delivered is kept and shown, to the developer's own browser and to no one else."""

import logging
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as site_settings
from django.core.mail import EmailMessage
from django.test import Client
from django.utils import translation

from flasky import inbox
from notify.delivery.worker import deliver_due
from notify.mail import send_mail
from notify.models import Message

PAGES = ["", "{name}/", "{name}/html/", "{name}/source/", "{name}/download/"]


@pytest.fixture
def folder(tmp_path: Path, settings: Any, use_transport: Callable[..., None]) -> Path:
    settings.DEBUG, settings.MAIL_BACKEND = True, "inbox"
    use_transport("flasky.inbox.EmailBackend", folder=str(tmp_path / "inbox"))
    return tmp_path / "inbox"


@pytest.fixture
def browser_here() -> Client:
    return Client(HTTP_HOST="127.0.0.1:8000", HTTP_ACCEPT_LANGUAGE="en")


def keep(folder: Path, raw: bytes) -> str:
    """A mail whose bytes are given; returns its name."""
    name = f"{9 * 10**17 + len(list(folder.glob('*'))):020d}-{'0' * 8}"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.eml").write_bytes(raw)
    return name


def names(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.iterdir())


def delivered(folder: Path, *subjects: str) -> list[str]:
    backend = inbox.EmailBackend(folder=str(folder))
    messages = [EmailMessage(subject, "Hello", "a@example.com", ["b@example.com"]) for subject in subjects]
    assert backend.send_messages(messages) == len(subjects)
    return names(folder)


@pytest.mark.django_db(transaction=True)
def test_a_mail_takes_the_real_path_into_the_inbox(folder: Path, browser_here: Client) -> None:
    for recipients in (["ann@example.com", "bob@example.com"], ["cid@example.com"]):
        send_mail(recipients, "Grüße", "notify/mail/test")
        assert deliver_due().sent == 1
    first, second = names(folder)
    stored = (folder / f"{first}.eml").read_bytes()
    envelope = b"Return-Path: <flasky@example.com>\r\nDelivered-To: ann@example.com, bob@example.com\r\n"
    assert stored == envelope + bytes(Message.objects.earliest("id").body.mime)
    assert set(Message.objects.values_list("state", "reply")) == {
        ("sent", f"kept in the inbox as {name}.eml") for name in (first, second)
    }
    page = browser_here.get("/inbox/").content.decode()
    assert page.index(second) < page.index(first)
    assert page.count("[Flasky] Grüße") == 2
    assert "<bdi>ann@example.com, bob@example.com</bdi>" in page
    assert "just now" in page


def test_one_mail_is_shown_as_html_text_headers_source_and_file(folder: Path, browser_here: Client) -> None:
    name = keep(
        folder,
        b"Delivered-To: bob@example.com\r\nSubject: Both\r\nFrom: ann@example.com\r\nX-Odd: yes\r\n"
        b'Content-Type: multipart/alternative; boundary="b"\r\n\r\n'
        b"--b\r\nContent-Type: text/plain\r\n\r\nplain words\r\n"
        b"--b\r\nContent-Type: text/html\r\n\r\n<p>rich words</p><script>alert(1)</script>\r\n--b--\r\n",
    )
    page = browser_here.get(f"/inbox/{name}/").content.decode()
    assert "<h1>Both</h1>" in page
    assert "plain words" in page
    assert "<div><dt>X-Odd</dt><dd>yes</dd></div>" in page
    assert '<iframe class="frame" sandbox referrerpolicy="no-referrer"' in page
    assert f'src="/inbox/{name}/html/"' in page
    frame = browser_here.get(f"/inbox/{name}/html/")
    assert "<p>rich words</p>" in frame.content.decode()
    assert "script" not in frame.content.decode()
    assert frame["Content-Security-Policy"].endswith("frame-ancestors 'self'; sandbox")
    assert frame["X-Frame-Options"] == "SAMEORIGIN"
    source = browser_here.get(f"/inbox/{name}/source/")
    assert source["Content-Type"] == "text/plain; charset=utf-8"
    assert source["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'; sandbox"
    file = browser_here.get(f"/inbox/{name}/download/")
    assert file["Content-Disposition"] == f'attachment; filename="{name}.eml"'
    assert file["Content-Type"] == "message/rfc822"
    assert source.content == file.content == (folder / f"{name}.eml").read_bytes()


def test_what_a_mail_says_is_no_markup_of_the_page(folder: Path, browser_here: Client) -> None:
    name = keep(folder, b"Subject: <script>1</script>\r\nFrom: <b>\r\nDelivered-To: <i>\r\nX: <u>\r\n\r\n<s>")
    for path in ("/inbox/", f"/inbox/{name}/"):
        page = browser_here.get(path).content.decode()
        assert "&lt;script&gt;1&lt;/script&gt;" in page
        assert not {"<script>", "<b>", "<i>", "<u>", "<s>"}.intersection(page.replace("<body", "").split())


def test_a_large_mail_is_cut_on_the_page_and_whole_in_the_file(folder: Path, browser_here: Client) -> None:
    raw = b"Subject: large\r\n\r\n" + b"x" * 1_200_000
    name = keep(folder, raw)
    assert "Only the beginning of this mail is shown" in browser_here.get(f"/inbox/{name}/").content.decode()
    assert browser_here.get(f"/inbox/{name}/source/").content.endswith(b"\n\n(truncated; the file has the rest)\n")
    assert browser_here.get(f"/inbox/{name}/download/").content == raw


@pytest.mark.parametrize(
    "change",
    [
        {"DEBUG": False},
        {"MAIL_BACKEND": "smtp"},
        {"REMOTE_ADDR": "192.0.2.1"},
        {"REMOTE_ADDR": ""},
        {"HTTP_X_FORWARDED_FOR": "127.0.0.1"},
        {"HTTP_X_FORWARDED_HOST": "localhost"},
        {"HTTP_X_REAL_IP": "127.0.0.1"},
        {"HTTP_FORWARDED": "for=127.0.0.1"},
        {"HTTP_VIA": "1.1 proxy"},
        {"HTTP_HOST": "rebound.example.com"},
        {"HTTP_HOST": "127.0.0.1.example.com:8000"},
    ],
    ids=str,
)
@pytest.mark.parametrize("page", PAGES)
def test_others_find_nothing(
    folder: Path, browser_here: Client, settings: Any, change: dict[str, Any], page: str
) -> None:
    [name] = delivered(folder, "secret")
    path = "/inbox/" + page.format(name=name)
    assert browser_here.get(path).status_code == 200
    for setting in change.keys() & {"DEBUG", "MAIL_BACKEND"}:
        setattr(settings, setting, change[setting])
    answer = browser_here.get(path, **{key: value for key, value in change.items() if not hasattr(settings, key)})
    assert answer.status_code == 404
    assert "secret" not in answer.content.decode()


@pytest.mark.parametrize("client", [{"REMOTE_ADDR": "::1", "HTTP_HOST": "[::1]:8000"}, {"HTTP_HOST": "localhost:8000"}])
def test_this_machine_has_more_than_one_name(folder: Path, client: dict[str, str]) -> None:
    assert Client(**client).get("/inbox/").status_code == 200  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["..%2f..%2fdb", "1", "0" * 20 + "-" + "0" * 8])
@pytest.mark.parametrize("page", PAGES[1:])
def test_a_name_that_is_none_finds_nothing(folder: Path, browser_here: Client, name: str, page: str) -> None:
    assert browser_here.get("/inbox/" + page.format(name=name)).status_code == 404


def test_only_reading_is_answered(folder: Path, browser_here: Client) -> None:
    assert browser_here.post("/inbox/").status_code == 405


def test_an_empty_inbox_says_what_will_come(folder: Path, browser_here: Client) -> None:
    page = browser_here.get("/inbox/").content.decode()
    assert 'No mail yet. <a href="/">Type a name</a>, and the mail appears here.' in page


def test_the_newest_are_kept_and_the_oldest_go(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox, "KEPT", 3)
    first = delivered(folder, "1", "2", "3")
    assert len(first) == 3
    assert delivered(folder, "4", "5")[0] == first[2]


def test_a_mail_is_there_whole_or_not_at_all(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match="No space left"):
        delivered(folder, "lost")
    assert names(folder) == []


def test_files_of_others_in_the_folder_are_passed_over(folder: Path, browser_here: Client) -> None:
    [name] = delivered(folder, "ours")
    (folder / "notes.eml").write_text("Subject: theirs\n\n")
    (folder / f".{name}.eml").write_text("Subject: half\n\n")
    page = browser_here.get("/inbox/").content.decode()
    assert page.count("<li>") == 1
    assert "ours" in page


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_the_mails_are_for_their_user_alone(folder: Path) -> None:
    old = os.umask(0)
    try:
        [name] = delivered(folder, "private")
    finally:
        os.umask(old)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (folder, folder / f"{name}.eml")] == [0o700, 0o600]


def test_an_address_with_a_line_break_adds_no_header(folder: Path) -> None:
    message = EmailMessage("Hello", "Hello", "a@example.com", ["b@example.com"])
    message.recipients = lambda: ["b@example.com\r\nX-Made-Up: yes"]  # type: ignore[method-assign]
    assert inbox._envelope(message) == (
        b"Return-Path: <a@example.com>\r\nDelivered-To: b@example.com X-Made-Up: yes\r\n"
    )


def test_the_list_is_sent_again_when_it_has_changed(
    folder: Path, browser_here: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox.time, "time", lambda: 1_800_000_000.0)
    delivered(folder, "1")
    known = {"HTTP_IF_NONE_MATCH": browser_here.get("/inbox/")["ETag"]}

    assert browser_here.get("/inbox/", **known).status_code == 304
    assert browser_here.get("/inbox/", **known, HTTP_ACCEPT_LANGUAGE="zh-CN").status_code == 200
    delivered(folder, "2")
    assert browser_here.get("/inbox/", **known).status_code == 200
    known = {"HTTP_IF_NONE_MATCH": browser_here.get("/inbox/")["ETag"]}
    monkeypatch.setattr(inbox.time, "time", lambda: 1_800_000_060.0)
    assert browser_here.get("/inbox/", **known).status_code == 200  # ages are shown


@pytest.mark.django_db
def test_the_pages_footer_leads_there_where_it_is_open(folder: Path, browser_here: Client, settings: Any) -> None:
    link = '<a href="/inbox/">Inbox</a>'
    assert link in browser_here.get("/").content.decode()
    assert link not in browser_here.get("/", REMOTE_ADDR="192.0.2.1").content.decode()
    settings.MAIL_BACKEND = "smtp"
    assert link not in browser_here.get("/").content.decode()


@pytest.mark.parametrize(
    ("line", "status", "kept"),
    [
        ("GET /inbox/ HTTP/1.1", "304", False),
        ("GET /inbox/ HTTP/1.1", "200", True),
        ("GET /inbox/1/ HTTP/1.1", "304", True),
        ("GET / HTTP/1.1", "304", True),
    ],
)
def test_the_questions_of_an_open_inbox_are_not_logged(line: str, status: str, kept: bool) -> None:
    record = logging.LogRecord("django.server", logging.INFO, "", 0, '"%s" %s %s', (line, status, "0"), None)
    assert site_settings.LOGGING["loggers"]["django.server"]["filters"] == ["not_idle_inbox"]
    assert site_settings.LOGGING["filters"]["not_idle_inbox"]["callback"](record) is kept


def test_it_speaks_chinese(folder: Path, browser_here: Client) -> None:
    page = browser_here.get("/inbox/", HTTP_ACCEPT_LANGUAGE="zh-CN").content.decode()
    with translation.override("zh-hans"):
        assert translation.gettext("Inbox") != "Inbox"
        assert f"<h1>{translation.gettext('Inbox')}</h1>" in page
