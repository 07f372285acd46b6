"""Every mail in both languages, from a site with names of its own."""

from typing import Any

import pytest
from django.core.mail import EmailMultiAlternatives

from tests.samples import every_mail


@pytest.fixture(params=["en", "zh-hans"])
def mails(request: pytest.FixtureRequest, settings: Any) -> dict[str, EmailMultiAlternatives]:
    settings.LANGUAGE_CODE = request.param
    settings.TIME_ZONE = "Asia/Shanghai"
    settings.FLASKY_URL = "https://flasky.example.org"
    settings.FLASKY_MAIL_SENDER = "Flasky Admin <flasky@flasky.example.org>"
    return every_mail()
