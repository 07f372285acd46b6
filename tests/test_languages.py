"""Every word that a person reads stands in the catalogue, in Simplified Chinese, and is what they get to read.

The words are found without gettext's tools: in Python by its syntax, in templates by Django's own parser, so that what
is looked up when the site runs is what is looked for here.
"""

import ast
import gettext
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from django.core.management import call_command, get_commands, load_command_class
from django.template import engines
from django.templatetags.i18n import BlockTranslateNode, TranslateNode
from django.test import Client
from django.utils import translation

from notify.events.digest import notify_due
from notify.models import Event, Message
from notify.operations import checks
from notify.templatetags.mails import COLUMNS
from notify.visitors.models import Visitor
from tests.relays import Relay
from tests.samples import every_mail, html_of

ROOT = Path(__file__).resolve().parent.parent
CATALOGUE = ROOT / "notify/locale/zh_Hans/LC_MESSAGES/django.po"
MODULES = sorted(path for folder in ("flasky", "notify") for path in (ROOT / folder).rglob("*.py"))
TEMPLATES = sorted(
    path for folder in ("templates", "notify") for kind in ("*.html", "*.txt") for path in (ROOT / folder).rglob(kind)
)
CONTEXT = "\x04"  # stands between context and msgid in compiled catalogues
# Its arguments that are msgids, and whether the first is a context.
FUNCTIONS = {
    **dict.fromkeys(("_", "gettext", "gettext_lazy", "gettext_noop"), ([0], False)),
    **dict.fromkeys(("ngettext", "ngettext_lazy"), ([0, 1], False)),
    **dict.fromkeys(("pgettext", "pgettext_lazy"), ([1], True)),
    **dict.fromkeys(("npgettext", "npgettext_lazy"), ([1, 2], True)),
}
NAMES = {"Flasky", "FLASKY_ADMIN", "HTML", "px", "ms"}  # the same in every language


class Entry(NamedTuple):
    """One of the catalogue's. `key` is msgid with its context."""

    key: str
    plural: str
    translated: str
    fuzzy: bool


def entries() -> list[Entry]:
    return [entry for block in CATALOGUE.read_text().split("\n\n") if (entry := parse(block)).key]


def parse(block: str) -> Entry:
    fields: dict[str, str] = {}
    name = ""
    for line in block.splitlines():
        if match := re.match(r'(\w+)(?:\[0\])? (".*")$', line):
            name = match[1]
            fields[name] = ast.literal_eval(match[2])
        elif line.startswith('"'):
            fields[name] += ast.literal_eval(line)
    key = fields.get("msgid", "")
    if "msgctxt" in fields:
        key = fields["msgctxt"] + CONTEXT + key
    fuzzy = bool(re.search(r"^#,.*\bfuzzy\b", block, re.MULTILINE))
    return Entry(key, fields.get("msgid_plural", ""), fields.get("msgstr", ""), fuzzy)


def words_of_module(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS:
            places, has_context = FUNCTIONS[node.func.id]
            where = f"{path}:{node.lineno}"
            texts = [ast.literal_eval(node.args[place]) for place in places]
            assert all(isinstance(text, str) for text in texts), where
            context = ast.literal_eval(node.args[0]) + CONTEXT if has_context else ""
            yield context + texts[0]


def words_of_template(path: Path) -> Iterator[str]:
    source = path.read_text()
    yield from (match[2] for match in re.finditer(r"""[=|\s:]_\((['"])(.*?)\1\)""", source))
    nodes = engines["django"].engine.from_string(source).nodelist
    for node in nodes.get_nodes_by_type(TranslateNode):
        context = node.message_context.var + CONTEXT if node.message_context else ""
        yield context + str(node.filter_expression.var.literal)
    for node in nodes.get_nodes_by_type(BlockTranslateNode):
        context = node.message_context.var + CONTEXT if node.message_context else ""
        yield context + node.render_token_list(node.singular)[0]


def used() -> set[str]:
    found = {word for path in MODULES for word in words_of_module(path)}
    return found | {word for path in TEMPLATES for word in words_of_template(path)}


def test_all_that_is_said_stands_in_the_catalogue_and_nothing_else() -> None:
    known = {entry.key for entry in entries()}
    assert used() == known, "run: make messages"


def test_nothing_is_untranslated_or_fuzzy() -> None:
    assert not [entry.key for entry in entries() if entry.fuzzy or not entry.translated]


def test_the_compiled_catalogue_is_what_the_other_says() -> None:
    with CATALOGUE.with_suffix(".mo").open("rb") as file:
        compiled: dict[Any, str] = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]
    compiled.pop("")
    assert compiled == {(entry.key, 0) if entry.plural else entry.key: entry.translated for entry in entries()}, (
        "run: make messages"
    )


def placeholders(text: str) -> list[str]:
    return sorted(re.findall(r"%\(\w+\)[a-z]|%[.\d]*[a-z%]|</?\w[^>]*>|\{\w*\}|`[^`]+`", text))


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.key)
def test_placeholders_and_markup_survive_translation(entry: Entry) -> None:
    if CONTEXT not in entry.key:
        assert placeholders(entry.translated) == placeholders(entry.plural or entry.key)
        assert re.findall(r"[A-Z]+_[A-Z_]+(?:=\w+)?", entry.translated)[:9] or not re.search(r"[A-Z]_[A-Z]", entry.key)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: str(path.relative_to(ROOT)))
def test_templates_hold_no_words_past_the_catalogue(path: Path) -> None:
    source = path.read_text()
    for skipped in (
        r"(?s)\{% block bodyclass %\}.*?\{% endblock %\}",
        r"(?s)\{% blocktranslate.*?endblocktranslate %\}",
        r"(?s)\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}",
        r"(?s)<style>.*?</style>",
    ):
        source = re.sub(skipped, "", source)
    shown = re.findall(r'(?:title|placeholder|aria-label|alt)="([^"]*)"', source)
    shown.append(re.sub(r"(?s)<.*?>", " ", source))
    assert not {word for text in shown for word in re.findall(r"&?[^\W\d_]{2,}", text)} - NAMES - {"&nbsp", "&rsaquo"}


# --- what people get to read ------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_the_page_follows_the_browser_and_the_mail_the_site(settings: Any, client: Client) -> None:
    settings.LANGUAGE_CODE = "zh-hans"
    page = client.get("/", headers={"Accept-Language": "en"})
    assert "What is your name?" in page.text
    client.post("/", {"name": "Ann"}, headers={"Accept-Language": "en"})
    notify_due()
    [message] = Message.objects.all()
    assert message.subject == "[Flasky] 新访客: Ann"
    settings.LANGUAGE_CODE = "en"
    page = client.get("/", headers={"Accept-Language": "zh-CN,zh;q=0.9"})
    assert "你叫什么名字？" in page.text
    client.post("/", {"name": "Bob"}, headers={"Accept-Language": "zh-CN"})
    notify_due()
    assert Message.objects.order_by("pk").last().subject == "[Flasky] New visitor: Bob"  # type: ignore[union-attr]


def test_chinese_mails_are_chinese_and_fit_their_columns(settings: Any) -> None:
    settings.LANGUAGE_CODE = "zh-hans"
    settings.TIME_ZONE = "Asia/Shanghai"
    for name, message in every_mail().items():
        body = str(message.body)
        assert re.search("[一-鿿]", body.splitlines()[0]), name
        assert "收到此邮件，是因为" in body
        assert "收到此邮件，是因为" in html_of(message)
        for line in body.splitlines():
            assert "://" in line or len(line) + len(re.findall("[⺀-￯]", line)) <= COLUMNS
    assert "2026年3月14日 09:26 CST" in str(every_mail()["new_visitor"].body)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "address", ["/admin/", "/admin/notify/relay/", "/admin/notify/message/", "/admin/notify/event/"]
)
def test_the_desk_speaks_chinese(admin_client: Client, address: str) -> None:
    page = admin_client.get(address, headers={"Accept-Language": "zh-CN"}, follow=True)
    assert re.search("还没有发送过邮件。|最近 48 小时|邮件|事件", page.text)
    assert 'lang="zh-hans"' in page.text


def test_error_pages_speak_chinese(client: Client) -> None:
    page = client.get("/nothing/", headers={"Accept-Language": "zh-CN"})
    assert "这里什么也没有" in page.text


@pytest.mark.django_db(transaction=True)
def test_commands_speak_the_sites_language_and_keep_what_programs_read(
    relay: Relay, use_transport: Callable[..., None]
) -> None:
    use_transport("notify.smtp.backend.EmailBackend", host="127.0.0.1", port=relay.port, timeout=10)
    out = StringIO()
    with translation.override("zh-hans"):
        call_command("outbox", "status", stdout=out)
        call_command("deliver", stdout=out)
        call_command("sendtestmail", "--check", "a@example.com", stdout=out)
    said = out.getvalue()
    assert "最近一次成功  从未" in said
    assert "sent 0, retry 0, failed 0, waiting 0" in said.splitlines()
    assert "SKIP data --check：不发送邮件" in said


@pytest.mark.parametrize("name", sorted(name for name, app in get_commands().items() if app == "notify"))
def test_help_is_translated(name: str) -> None:
    with translation.override("zh-hans"):
        words = load_command_class("notify", name).create_parser("manage.py", name).format_help()
    assert re.search("邮件|邮箱|发件箱", words)  # Django's own part is English


def test_help_is_in_the_language_of_the_settings() -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "deliver", "--help"],
        cwd=ROOT,
        env={"LANGUAGE_CODE": "zh-hans", "DEBUG": "true", "PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.search("邮件|邮箱|发件箱", done.stdout)


def test_checks_speak_chinese(settings: Any) -> None:
    settings.FLASKY_ADMIN = []
    with translation.override("zh-hans"):
        [problem] = checks.check_mail_settings(None)
    assert str(problem.msg) == "没有设置 FLASKY_ADMIN：有新访客时不会通知任何人。"


@pytest.mark.django_db
def test_what_is_kept_of_an_event_is_in_the_sites_language(settings: Any) -> None:
    settings.LANGUAGE_CODE = "zh-hans"
    with translation.override("en"):
        Visitor.objects.create(name="Ann")
    assert Event.objects.get().subject == "新访客"
