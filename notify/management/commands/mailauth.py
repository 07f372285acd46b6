"""manage.py mailauth: sign in once for the mailbox that sends, show how long that lasts, or revoke it."""

import contextlib
import sys
from datetime import datetime
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError, CommandParser
from django.utils import timezone
from django.utils.translation import gettext as _

from notify import clock, conf
from notify.delivery import transport
from notify.management.database import errors_explained
from notify.management.printing import PrintingCommand
from notify.models import OAuthToken
from notify.oauth import configuration as configurations
from notify.oauth import grants, registration, sign_in, store, tokens
from notify.oauth.configuration import Configuration
from notify.oauth.endpoint import TokenRefused, TokenUnavailable
from notify.oauth.grants import Answer
from notify.operations import actions
from notify.smtp.diagnosis import rules
from notify.smtp.dial import Deadline
from notify.smtp.failure import from_exception, one_line


class Command(PrintingCommand):
    requires_system_checks: list[str] = []  # missing settings are reported with what to register

    def add_arguments(self, parser: CommandParser) -> None:
        parser.description = _(
            "Sign in once for the mailbox that sends (OAuth 2), and store the refresh token, encrypted."
        )
        how = parser.add_mutually_exclusive_group()
        how.add_argument("--device", action="store_true", help=_("sign in with a code on any device (Microsoft)"))
        how.add_argument("--browser", action="store_true", help=_("sign in with a browser redirected to this machine"))
        how.add_argument("--status", action="store_true", help=_("show the stored tokens and when they expire"))
        how.add_argument("--revoke", action="store_true", help=_("revoke the refresh token and delete it"))
        parser.add_argument("--port", type=int, default=0, help=_("port on 127.0.0.1 for --browser; default: any"))

    def handle(
        self, *args: Any, device: bool, browser: bool, status: bool, revoke: bool, port: int, **options: Any
    ) -> None:
        configuration = self._configured()
        try:
            with errors_explained():
                if status:
                    self.stdout.write("\n".join(_status_lines(configuration)))
                elif revoke:
                    self._revoke(configuration)
                elif configuration.app_alone and not (device or browser):
                    self._try_app(configuration)
                else:
                    self._sign_in(configuration, device=device, browser=browser, port=port)
        except (TokenRefused, TokenUnavailable) as error:
            lines, known = [str(error)], rules.diagnose(from_exception(error))
            if known:
                is_away = isinstance(error, TokenUnavailable)  # which a worker, unlike this command, tries again
                fix = _("Check the network, then run this again.") if is_away else known.fix
                lines += [f"{_('cause')}: {known.cause}", f"{_('fix')}: {conf.named(fix)}"]
            raise CommandError("\n".join(lines)) from None

    def _configured(self) -> Configuration:
        plan = transport.options()
        try:
            found = configurations.from_options(plan)
            if found is None:
                raise ImproperlyConfigured(_("MAIL_OAUTH_CLIENT_ID is not set."))
            tokens.require_packages()
        except ImproperlyConfigured as error:
            provider = transport.provider()
            steps = registration.steps(provider.oauth if provider else "")
            numbered = [f"{number}. {line}" for number, line in enumerate(steps, 1)]
            lines = [str(error), _("What to register:"), *numbered]
            raise CommandError(conf.named("\n".join(lines)), returncode=2) from None
        return found

    def _try_app(self, configuration: Configuration) -> None:
        self._say(_("The app signs in alone, with its secret; no person needs to sign in."))
        tokens.forget()
        found = tokens.Tokens(configuration)(Deadline(tokens.REQUEST_SECONDS))
        self._say(_("An access token was issued (%s).") % found.origin)
        self._say(_("Next: manage.py sendtestmail --check"))

    def _sign_in(self, configuration: Configuration, *, device: bool, browser: bool, port: int) -> None:
        authority = configuration.authority
        if authority.device_url and not browser:
            answer = self._by_device(configuration)
        elif device:
            words = _("%s does not support device codes for mail: use --browser")
            raise CommandError(words % authority.host, returncode=2)
        elif authority.authorize_url:
            answer = self._by_browser(configuration, port)
        else:
            words = _("MAIL_OAUTH_AUTHORIZE_URL is not set, so no one can sign in.")
            raise CommandError(conf.named(words), returncode=2)
        if not answer.refresh_token:
            words = _("%s issued no refresh token. Often MAIL_OAUTH_SCOPE must name offline_access, too.")
            raise CommandError(conf.named(words % authority.host))
        store.authorize(configuration, answer)
        tokens.forget()
        self._say(_("Signed in. The refresh token is stored, encrypted, and access tokens are renewed automatically."))
        if actions.probe():
            self._say(_("Delivery had stopped; retrying now."))
        self._say(_("Next: manage.py sendtestmail --check"))

    def _by_device(self, configuration: Configuration) -> Answer:
        code = grants.device_code(configuration, Deadline(sign_in.REQUEST_SECONDS))
        self._say(_("In a browser on any device, open %s") % code.verification_url)
        self._say(
            _("Enter the code %(code)s within %(minutes)d min, and sign in as %(user)s.")
            % {"code": code.user_code, "minutes": code.lifetime // 60, "user": configuration.username}
        )
        return sign_in.by_device(configuration, code)

    def _by_browser(self, configuration: Configuration, port: int) -> Answer:
        with sign_in.Redirect(configuration, port=port) as redirect:
            self._say(_("In a browser, open this address and sign in as %s:") % configuration.username)
            self.stdout.write(redirect.url)
            self._say(
                _(
                    "The browser is then sent to %s on this machine. If it runs on another machine, that page does not "
                    "load: copy its address from the browser and paste it here."
                )
                % redirect.uri
            )
            return redirect.wait(sys.stdin, self._say)

    def _revoke(self, configuration: Configuration) -> None:
        row = OAuthToken.objects.filter(key=configuration.key).first()
        host = configuration.authority.host
        if row is None:
            self._say(_("There is nothing to revoke for %s.") % configuration.username)
            return
        at_provider = False
        with contextlib.suppress(TokenRefused):  # unreadable here, or invalid there: delete what is stored
            token = store.refresh_token(row, configuration)
            if token and configuration.authority.revoke_url:
                grants.revoke(configuration, token, Deadline(sign_in.REQUEST_SECONDS))
                at_provider = True
        row.delete()
        tokens.forget()
        if at_provider:
            self._say(_("Revoked at %s and deleted here.") % host)
        else:
            self._say(
                _("Deleted here. To revoke the permission, remove the app in the account's settings at %s.") % host
            )
        if configuration.refresh_token:
            self._say(_("MAIL_OAUTH_REFRESH_TOKEN is still set: unset it, too."))

    def _say(self, words: str) -> None:
        self.stdout.write(one_line(conf.named(words)))
        self.stdout.flush()


def _status_lines(configuration: Configuration) -> list[str]:
    row = OAuthToken.objects.filter(key=configuration.key).first() or OAuthToken()
    expires = conf.MAIL_OAUTH_EXPIRES
    facts = [
        (_("mailbox"), configuration.username),
        (_("client"), configuration.client_id),
        (_("issued by"), configuration.authority.host),
        (_("scope"), row.scope or configuration.authority.scope or _("none")),
        (_("signed in"), _moment(row.authorized_at)),
        (_("refresh token"), _refresh_token(row, configuration)),
        (_("access token"), _until(row.expires_at if row.access_token else None)),
        (_("last renewal"), _moment(row.renewed_at)),
        (_("last error"), f"{_moment(row.failed_at)}: {row.error}" if row.error else _("none")),
        (_("secret expires"), str(expires or _("not known (MAIL_OAUTH_EXPIRES)"))),
    ]
    return [one_line(conf.named(f"{name}: {value}")) for name, value in facts]


def _refresh_token(row: OAuthToken, configuration: Configuration) -> str:
    try:
        token = store.refresh_token(row, configuration)
    except TokenRefused:
        return _("stored, but encrypted with another key")
    if not token and configuration.app_alone:
        return _("none; not needed, because the app signs in alone")
    if not token:
        return _("none: run manage.py mailauth")
    if token == configuration.refresh_token:
        return _("from MAIL_OAUTH_REFRESH_TOKEN")
    if row.refresh_expires_at:
        return _("stored, until %s") % clock.shown(row.refresh_expires_at)
    return _("stored; expiry not known")


def _until(moment: datetime | None) -> str:
    if moment is None:
        return _("none")
    return (_("valid until %s") if moment > timezone.now() else _("expired %s")) % clock.shown(moment)


def _moment(moment: datetime | None) -> str:
    return _("never") if moment is None else clock.shown(moment)
