"""Settings of the app: defaults, what Django's own settings stand for, and the names that texts use."""

import re
from pathlib import Path
from typing import Any

import django
import pytest
from django.core.exceptions import ImproperlyConfigured

from notify import conf

ADOPT = Path(__file__).resolve().parent.parent / "docs" / "adopt.md"
# Settings whose default is computed, by the functions of `conf`.
COMPUTED = (
    *("NOTIFY_TRANSPORT", "NOTIFY_SITE_URL", "NOTIFY_PREVIEW_LANGUAGES"),
    *("FLASKY_ADMIN", "FLASKY_MAIL_SENDER", "FLASKY_MAIL_SUBJECT_PREFIX"),
)


@pytest.fixture
def foreign(settings: Any) -> Any:
    """A project that has Django's own settings, and none of ours."""
    for name in [*conf.DEFAULTS, *COMPUTED, "FLASKY_URL"]:
        if hasattr(settings, name):
            delattr(settings, name)
    settings.DEFAULT_FROM_EMAIL, settings.EMAIL_SUBJECT_PREFIX = "Shop <shop@example.com>", "[Shop] "
    if django.VERSION < (6, 1):
        settings.EMAIL_HOST, settings.EMAIL_PORT, settings.EMAIL_TIMEOUT = "mail.example.com", 2525, None
    else:
        settings.MAILERS = {"transport": {"BACKEND": conf.SMTP, "OPTIONS": {"host": "mail.example.com", "port": 2525}}}
    return settings


def test_the_document_has_every_setting_and_its_default() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (\S+) \|", ADOPT.read_text(), re.MULTILINE))
    assert set(rows) == {*conf.DEFAULTS, *COMPUTED}
    for name, default in conf.DEFAULTS.items():
        assert rows[name].strip("`") == (f'"{default}"' if isinstance(default, str) else str(default)), name


def test_every_name_is_declared_and_no_other_is_read() -> None:
    assert set(conf.__annotations__) - {"DEFAULTS"} == set(conf.DEFAULTS)
    with pytest.raises(AttributeError, match=r"module 'notify.conf' has no attribute 'NOTIFY_BRUST'"):
        conf.NOTIFY_BRUST  # type: ignore[attr-defined]  # noqa: B018


def test_a_setting_is_read_at_each_access(foreign: Any) -> None:
    assert conf.NOTIFY_BURST == 5
    foreign.NOTIFY_BURST = 7
    assert conf.NOTIFY_BURST == 7


@pytest.mark.parametrize("admins", [["a@example.com"], [("Ann", "a@example.com")]])
def test_djangos_own_settings_are_the_defaults(foreign: Any, admins: list[Any]) -> None:
    foreign.ADMINS = admins
    assert (conf.admins(), conf.sender()) == (["a@example.com"], "Shop <shop@example.com>")
    assert (conf.subject_prefix(), conf.site_url()) == ("[Shop]", "")


def test_administrators_in_one_text_are_not_its_letters(foreign: Any) -> None:
    foreign.FLASKY_ADMIN = "a@example.com, b@example.com"
    assert conf.admins() == ["a@example.com", "b@example.com"]
    foreign.FLASKY_ADMIN = ""
    assert conf.admins() == []


def test_the_mail_server_is_the_projects_and_no_attempt_waits_without_end(foreign: Any) -> None:
    found = conf.transport()
    assert found["BACKEND"] == "notify.smtp.backend.EmailBackend"
    options = found["OPTIONS"]
    assert (options["host"], options["port"], options["timeout"]) == ("mail.example.com", 2525, 30)


@pytest.mark.parametrize(("mode", "port"), [({}, 25), ({"use_tls": True}, 587), ({"use_ssl": True}, 465)])
def test_a_transport_without_port_or_options_has_djangos(foreign: Any, mode: dict[str, bool], port: int) -> None:
    foreign.NOTIFY_TRANSPORT = {"BACKEND": conf.SMTP, "OPTIONS": mode}
    assert conf.transport()["OPTIONS"] == {**mode, "port": port, "timeout": 30}
    foreign.NOTIFY_TRANSPORT = {"BACKEND": "anymail.backends.postmark.EmailBackend"}
    assert conf.transport() == {"BACKEND": "anymail.backends.postmark.EmailBackend", "OPTIONS": {}}


@pytest.mark.skipif(django.VERSION < (6, 1), reason="MAILERS came with Django 6.1")
def test_mailers_without_a_transport_configure_none(foreign: Any) -> None:
    foreign.MAILERS = {"default": {"BACKEND": conf.OUTBOX}}
    assert conf.transport() == {"BACKEND": "", "OPTIONS": {}}


def test_texts_name_the_settings_that_the_project_has(foreign: Any) -> None:
    said = "Set MAIL_USE_TLS=true and MAIL_PASSWORD; MAIL_SERVER is not FLASKY_ADMIN. MAIL_PASSWORDS stay."
    if django.VERSION < (6, 1):
        own = "Set EMAIL_USE_TLS = True and EMAIL_HOST_PASSWORD; EMAIL_HOST is not ADMINS. MAIL_PASSWORDS stay."
        assert conf.named(said) == own
    foreign.NOTIFY_TRANSPORT = {"BACKEND": conf.SMTP}
    assert conf.named("Set MAIL_USE_SSL=false") == "Set use_ssl of NOTIFY_TRANSPORT = False"
    foreign.FLASKY_ADMIN = []
    assert conf.named(said) == said


def test_previews_are_in_the_sites_language_and_those_with_a_catalogue(foreign: Any) -> None:
    foreign.LANGUAGE_CODE = "de"
    foreign.LANGUAGES = [("de", "Deutsch"), ("fr", "Français"), ("zh-hans", "简体中文")]
    assert conf.preview_languages() == {"de": "Deutsch", "zh-hans": "简体中文"}
    foreign.NOTIFY_PREVIEW_LANGUAGES = ["fr", "en-gb", "xx"]
    assert conf.preview_languages() == {"fr": "Français", "en-gb": "British English", "xx": "xx"}


def test_a_transport_that_is_a_path_is_refused_by_name(settings: Any) -> None:
    settings.NOTIFY_TRANSPORT = conf.SMTP
    with pytest.raises(ImproperlyConfigured, match=r"^NOTIFY_TRANSPORT is no dictionary"):
        conf.transport()
