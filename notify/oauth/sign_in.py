"""A person signs in once and allows the app to send: by a code on any device, or by a redirect to this machine."""

import html
import queue
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from urllib.parse import parse_qs, urlsplit

from django.utils.translation import gettext as _

from notify.oauth import grants
from notify.oauth.configuration import Configuration
from notify.oauth.endpoint import TokenRefused, TokenUnavailable
from notify.oauth.grants import Answer, DeviceCode
from notify.smtp.dial import Deadline
from notify.smtp.failure import scrub
from notify.smtp.secret import Secret

REQUEST_SECONDS = 30.0
SIGN_IN_SECONDS = 600.0  # for the person, with a browser
SLOWER = 5  # seconds more between polls, where the server asks for that (RFC 8628 3.5)


def by_device(configuration: Configuration, code: DeviceCode, *, sleep: Callable[[float], None] = time.sleep) -> Answer:
    """Wait until the person has entered the code. Raises TokenRefused if they decline or are too late."""
    end, interval = time.monotonic() + code.lifetime, code.interval
    while True:
        sleep(interval)
        if time.monotonic() >= end:
            raise _too_late(configuration)
        try:
            return grants.by_device_code(configuration, code, Deadline(REQUEST_SECONDS))
        except TokenUnavailable:
            interval += SLOWER  # RFC 8628 3.5: also after a timeout
        except TokenRefused as error:
            if error.error == "slow_down":
                interval += SLOWER
            elif error.error != "authorization_pending":
                raise


class Redirect:
    """`with Redirect(configuration, port=0) as redirect`: listens for the browser on 127.0.0.1 (RFC 8252 7.3).

    `url` is what the person opens in a browser, `uri` where the browser is sent next.
    """

    def __init__(self, configuration: Configuration, *, port: int = 0) -> None:
        self._configuration = configuration
        self._verifier = Secret(secrets.token_urlsafe(48))  # RFC 7636 4.1
        self._state = secrets.token_urlsafe(24)
        self._found: queue.Queue[dict[str, list[str]]] = queue.Queue()
        self._http = ThreadingHTTPServer(("127.0.0.1", port), _page(self))
        self._http.daemon_threads = True
        self.uri = f"http://{configuration.authority.redirect_host}:{self._http.server_address[1]}"
        self.url = grants.authorization_url(
            configuration, redirect_uri=self.uri, state=self._state, verifier=self._verifier
        )

    def wait(self, pasted: Iterable[str], complain: Callable[[str], None], seconds: float = SIGN_IN_SECONDS) -> Answer:
        """The tokens, once the browser arrives or its address is pasted. Raises TokenRefused or TokenUnavailable.

        `pasted` yields lines and may block; `complain` gets a text for each that is not that address.
        """
        threading.Thread(target=self._read, args=[pasted, complain], daemon=True).start()
        try:
            query = self._found.get(timeout=seconds)
        except queue.Empty:
            raise _too_late(self._configuration) from None
        if "code" not in query:
            words = f"{query['error'][0]}: {query.get('error_description', ['no description'])[0]}"
            host = urlsplit(self._configuration.authority.authorize_url).hostname
            raise TokenRefused(scrub(f"{host}: {words}", []), error=query["error"][0])
        return grants.by_code(
            self._configuration,
            Secret(query["code"][0]),
            redirect_uri=self.uri,
            verifier=self._verifier,
            deadline=Deadline(REQUEST_SECONDS),
        )

    def take(self, address: str) -> bool:
        """Whether the address has this request's state, and a code or an error."""
        try:
            found = parse_qs(urlsplit(address.strip()).query)
        except ValueError:
            return False
        if not secrets.compare_digest(found.get("state", [""])[0].encode(), self._state.encode()):
            return False
        if "code" not in found and "error" not in found:
            return False
        self._found.put(found)
        return True

    def _read(self, pasted: Iterable[str], complain: Callable[[str], None]) -> None:
        for line in pasted:
            if line.strip() and not self.take(line):
                complain(_("That is not the address the browser was sent to; it begins with %s") % self.uri)

    def __enter__(self) -> "Redirect":
        threading.Thread(target=self._http.serve_forever, args=[0.1], daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._http.shutdown()
        self._http.server_close()


def _too_late(configuration: Configuration) -> TokenRefused:
    return TokenRefused(f"{configuration.authority.host}: expired_token: no one signed in", error="expired_token")


def _page(redirect: Redirect) -> type[BaseHTTPRequestHandler]:
    done = html.escape(_("Thank you. You can close this page and return to the terminal."))
    other = html.escape(_("This page is not part of the sign-in that is running."))

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            taken = redirect.take(self.path)
            page = f"<!doctype html><meta charset=utf-8><title>Flasky</title><p>{done if taken else other}</p>".encode()
            self.send_response(200 if taken else 400)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(page)))
            self.send_header("Referrer-Policy", "no-referrer")
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *args: object) -> None:
            """Nothing is logged: the address contains the code."""

    return Page
