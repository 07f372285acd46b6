"""manage.py runserver: Django's, which says where site, inbox and admin are; what the checks find comes below."""

from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.staticfiles.management.commands import runserver
from django.utils.translation import gettext as _

from notify.delivery import transport


class Command(runserver.Command):
    addr: str  # as Django's handle() has read it
    _raw_ipv6: bool
    _has_checks = True

    def inner_run(self, *args: Any, **options: Any) -> None:
        self._has_checks = not options["skip_checks"]
        super().inner_run(*args, **{**options, "skip_checks": True})

    def on_bind(self, server_port: int) -> None:
        """Called when the port is bound and nothing is served yet."""
        host = f"[{self.addr}]" if self._raw_ipv6 else self.addr
        for line in _lines(f"{self.protocol}://{host}:{server_port}"):
            self.stdout.write(line)
        self.stdout.flush()
        links = urlsplit(settings.FLASKY_URL)
        if links.hostname in ("localhost", "127.0.0.1", "::1") and (links.port or 80) != server_port:
            words = _("Links in mails lead to FLASKY_URL=%(url)s, but the site is on port %(port)d.")
            self.stderr.write(self.style.WARNING(words % {"url": settings.FLASKY_URL, "port": server_port}))
        if self._has_checks:
            self.check()


def _lines(url: str) -> list[str]:
    """Four lines for the terminal."""
    if settings.MAIL_BACKEND == "inbox":
        mail = _("Inbox:  %s (type a name on the site, and the mail appears here)") % f"{url}/inbox/"
        more = _("To send real mail, set in .env: %s") % (
            "MAIL_BACKEND=smtp, MAIL_SERVICE=gmail (163, qq …), MAIL_USERNAME, MAIL_PASSWORD, FLASKY_ADMIN"
        )
    else:
        mail = _("Mail:   through %s (to test: manage.py sendtestmail)") % transport.describe()
        more = _("To keep mail on this machine and read it at %s, set MAIL_BACKEND=inbox") % f"{url}/inbox/"
    return [
        _("Site:   %s (to stop: CONTROL-C)") % f"{url}/",
        mail,
        _("Admin:  %s (to create a login: make admin)") % f"{url}/admin/",
        more,
    ]
