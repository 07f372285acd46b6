"""Takes the pictures in docs/img: `python -m tests.e2e.pictures [FOLDER]`. Page, admin and mails. Look at them."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.site import ROOT, Site, template_database

SIZES = {"desktop": (1280, 800), "phone": (390, 760)}
SCHEMES = ("light", "dark")
NAMES = {
    "stranger": [],
    "new": ["Zoë"],
    "known": ["Zoë", "Zoë"],
    "error": ["www.example.com"],
    "chinese": ["李小龙"],
}
PASSWORD = "a long password of no use elsewhere"
SETTINGS = {
    "NOTIFY_FORM_SECONDS": 0,
    "NOTIFY_DISPATCH": "worker",
    "FLASKY_ADMIN": "admin@example.com",
    "FLASKY_URL": "https://flasky.example.com",
    "FLASKY_MAIL_SENDER": "Flasky <flasky@example.com>",
    "MAIL_SERVER": "smtp.example.com",
    "MAIL_PORT": 587,
    "MAIL_USE_TLS": "true",
    "MAIL_USERNAME": "flasky@example.com",
    "MAIL_PASSWORD": "not a password",
    "DEBUG": "true",
}
# An outbox in which much has happened, made in the site's own process.
SCENE = """
from datetime import timedelta
from django.contrib.auth import get_user_model
from django.core.mail import EmailMultiAlternatives
from django.utils import timezone
from notify.delivery import counts
from notify.events.digest import notify_due
from notify.models import Attempt, Event, Message, Relay, Window
from notify.visitors.models import Visitor

get_user_model().objects.create_superuser("ann", "ann@example.com", "{password}")
now = timezone.now()
for name in ("Ada Lovelace", "李小龙", "Zoë O’Brien"):
    Visitor.objects.create(name=name)
    notify_due()
for subject, to in (("Your order 1042 is on its way", "customer@example.net"), ("Your order 1043", "bob@example.org")):
    mail = EmailMultiAlternatives(subject, "Thank you.", "shop@example.com", [to])
    mail.attach_alternative("<p>Thank you.</p>", "text/html")
    mail.send()
for back in range(48):
    counts.add("sent", count=back * 7 % 23, seconds=1, now=now - timedelta(hours=back))
counts.add("retry", count=5, seconds=1, now=now - timedelta(hours=2))
counts.add("fail", count=2, seconds=1, now=now - timedelta(hours=9))
rows = list(Message.objects.order_by("pk"))
for minutes, row in zip((125, 70, 23), rows):
    at = now - timedelta(minutes=minutes)
    columns = {{"state": "sent", "created_at": at, "sent_at": at + timedelta(minutes=3 * (row == rows[2]))}}
    attempts = 1 + (row == rows[2])
    reply = f"250 2.0.0 Ok: queued as 4F1X{{row.pk}}"
    Message.objects.filter(pk=row.pk).update(**columns, attempts=attempts, reply=reply)
Attempt.objects.create(message=rows[2], at=now - timedelta(minutes=22), seconds=0.31, phase="recipient", code=451,
    text="4.7.1 Greylisted", diagnosis="greylisted", decision="retry")
gone = dict(reply="550 5.1.1 <customer@example.net>: User unknown", diagnosis="no-such-recipient")
failed = dict(state="failed", attempts=1, created_at=now - timedelta(minutes=9), due_at=now - timedelta(days={age}))
Message.objects.filter(pk=rows[3].pk).update(**failed, **gone)
Attempt.objects.create(message=rows[3], at=now - timedelta(minutes=8), seconds=0.2, phase="recipient", code=550,
    text="5.1.1 <customer@example.net>: User unknown", diagnosis="no-such-recipient", decision="fail")
if "{state}" == "good":
    Message.objects.filter(pk=rows[4].pk).update(state="sent", sent_at=now, attempts=1, reply="250 2.0.0 Ok")
Event.objects.create(topic="order", key="1", subject="New order", summary="Order 1044")
Window.objects.create(topic="order", opened_at=now)
Relay.current()
Relay.objects.update(last_success=now - timedelta(minutes=2), since=now - timedelta(days=3))
if "{state}" == "held":
    Relay.objects.update(state="held", reason="535 5.7.8 Error: authentication failed", diagnosis="bad-credentials",
        since=now - timedelta(minutes=6), next_probe=now + timedelta(minutes=9, seconds=30))
"""
MESSAGES = "admin/notify/message/"
# By the name of the picture: which scene, which page.
PAGES = {
    "good": ("good", "admin/notify/relay/"),
    "held": ("held", "admin/notify/relay/"),
    "failed": ("failed", "admin/notify/relay/"),
    "index": ("good", "admin/"),
    "messages": ("failed", MESSAGES),
    "message": ("failed", f"{MESSAGES}3/change/"),
    "waiting": ("held", f"{MESSAGES}5/change/"),
    "events": ("good", "admin/notify/event/"),
    "visitors": ("good", "admin/visitors/visitor/"),
    "previews": ("good", f"{MESSAGES}previews/"),
    "preview": ("good", f"{MESSAGES}previews/mail/new_visitor/"),
}
MAILS = {"new_visitor": "mail/new_visitor", "digest": "notify/mail/digest", "test": "notify/mail/test"}
WIDTHS = {"700": 700, "390": 390}


class Studio:
    """A site on a fresh database for each scene, and a browser."""

    def __init__(self, place: Path, chromium: Browser, folder: Path) -> None:
        self._place, self._chromium, self._folder = place, chromium, folder
        self._empty = template_database(place)

    def site(self) -> Site:
        for file in self._place.glob("site.sqlite3*"):
            file.unlink()
        shutil.copy(self._empty, self._place / "site.sqlite3")
        return Site(self._place, {**SETTINGS, "DATABASE_URL": f"sqlite:///{self._place / 'site.sqlite3'}"}).start()

    def context(self, scheme: str, size: tuple[int, int], *, locale: str = "en-GB") -> BrowserContext:
        options: Mapping[str, Any] = {"color_scheme": scheme, "locale": locale, "java_script_enabled": False}
        return self._chromium.new_context(viewport={"width": size[0], "height": size[1]}, **options)

    def shoot(self, page: Page, name: str, *, full_page: bool = False) -> None:
        page.wait_for_load_state("networkidle")
        path = self._folder / f"{name}.png"
        page.screenshot(path=path, full_page=full_page)
        if squeeze := shutil.which("pngquant"):  # a third of the size, where it is installed
            subprocess.run([squeeze, "--force", "--skip-if-larger", "--ext=.png", str(path)], check=False)

    def visit(self) -> None:
        """The page that visitors see, in every state."""
        for state, names in NAMES.items():
            for scheme in SCHEMES:
                for size in SIZES:
                    site = self.site()
                    locale = "zh-CN" if state == "chinese" else "en-GB"
                    context = self.context(scheme, SIZES[size], locale=locale)
                    page = context.new_page()
                    page.goto(site.url)
                    for name in names:
                        page.get_by_role("textbox").fill(name)
                        page.get_by_role("textbox").press("Enter")
                        page.wait_for_load_state()
                    self.shoot(page, f"page-{state}-{scheme}-{size}")
                    context.close()
                    site.discard()

    def operate(self) -> None:
        """The operator's pages."""
        for scene in ("good", "held", "failed"):
            site = self.site()
            made = site.manage(
                "shell", "-v0", "-c", SCENE.format(password=PASSWORD, state=scene, age=0 if scene == "failed" else 2)
            )
            assert made.returncode == 0, made.stderr
            for scheme in SCHEMES:
                for size in SIZES:
                    context = self.context(scheme, SIZES[size])
                    page = log_in(context, site)
                    for name, (wanted, path) in PAGES.items():
                        if wanted == scene:
                            page.goto(site.url + path)
                            self.shoot(
                                page, f"desk-{name}-{scheme}-{size}", full_page=name not in ("message", "preview")
                            )
                    if scene == "good":
                        self.read(page, site, scheme, size)
                    context.close()
            site.discard()

    def read(self, page: Page, site: Site, scheme: str, size: str) -> None:
        """The mails, as their previews show them; each width once."""
        width = {"desktop": "700", "phone": "390"}[size]
        page.set_viewport_size({"width": WIDTHS[width], "height": 400})
        for name, template in MAILS.items():
            for language, suffix in (("en", ""), ("zh-hans", "-chinese")):
                if suffix and (name != "new_visitor" or width != "700"):
                    continue
                page.goto(f"{site.url}{MESSAGES}previews/{template}/frame/?language={language}&scheme={scheme}")
                self.shoot(page, f"mail-{name}{suffix}-{scheme}-{width}", full_page=True)


def log_in(context: BrowserContext, site: Site) -> Page:
    page = context.new_page()
    page.goto(f"{site.url}admin/")
    page.get_by_label("Username").fill("ann")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_load_state()
    return page


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place, sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        studio = Studio(Path(place), chromium, folder)
        studio.visit()
        studio.operate()
        chromium.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "img")
