"""manage.py mailauth: all that it prints, on each way of signing in, and when something is missing."""

import io
import re
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone

from notify import dispatch
from notify.delivery import breaker, transport
from notify.delivery.retry import Decision
from notify.models import OAuthToken, Outcome, Relay
from notify.oauth import configuration as configurations
from notify.oauth import grants, sign_in, store, tokens
from notify.oauth.configuration import Authority, Configuration
from notify.smtp.dial import Deadline
from tests.delivery.test_claims import queue
from tests.oauth.server import CLIENT, SCOPE, SECRET, USER, OAuthServer
from tests.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)
DONE = """\
Signed in. The refresh token is stored, encrypted, and access tokens are renewed automatically.
Next: manage.py sendtestmail --check
"""


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "disable", lambda: None)
    monkeypatch.setattr(dispatch, "wake", lambda: None)
    monkeypatch.setattr(sys, "stdin", io.StringIO())


@pytest.fixture
def use(use_transport: Callable[..., None], oauth: OAuthServer) -> Callable[..., None]:
    """The options of the server, and others: `use(oauth_authorize_url="")`."""

    def configure(**options: Any) -> None:
        plan = {"host": "127.0.0.1", "port": 25, "username": USER, **oauth.options, **options}
        use_transport("notify.smtp.backend.EmailBackend", **plan)

    configure()
    return configure


class Output(io.StringIO):
    """What a command prints, for another thread to wait for."""

    def find(self, pattern: str) -> str:
        until(lambda: re.search(pattern, self.getvalue()), said=self.getvalue)
        return re.findall(pattern, self.getvalue())[0]


def run(*words: str) -> str:
    out = io.StringIO()
    call_command("mailauth", *words, stdout=out, stderr=out, no_color=True)
    return out.getvalue()


def refused(*words: str, returncode: int = 1) -> str:
    with pytest.raises(CommandError) as caught:
        run(*words)
    assert caught.value.returncode == returncode
    return str(caught.value)


@pytest.fixture
def browse(use: Any) -> Iterator[Callable[..., tuple[str, str]]]:
    """Run the command; meanwhile a browser does what is given with its address. Output and error."""
    threads: list[threading.Thread] = []

    def go(person: Callable[[str, Output], None], *words: str) -> tuple[str, str]:
        out, errors = Output(), []

        def act() -> None:
            try:
                person(out.find(r"http://127\.0\.0\.1:\d+/authorize\S+"), out)
            except Exception as error:
                errors.append(error)

        threads.append(threading.Thread(target=act))
        threads[-1].start()
        said = ""
        try:
            call_command("mailauth", *words, stdout=out, stderr=out, no_color=True)
        except CommandError as error:
            said = str(error)
        threads[-1].join()
        assert errors == []
        return out.getvalue(), said

    yield go
    for each in threads:
        each.join()


def visit(url: str, out: Output) -> None:
    """The person agrees at once; the browser follows the redirect."""
    with urllib.request.urlopen(url) as page:
        assert "You can close this page" in page.read().decode()


class Unredirected(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any) -> None:
        return None


def address_after(url: str) -> str:
    """Where the browser would be sent."""
    try:
        urllib.request.build_opener(Unredirected).open(url)
    except urllib.error.HTTPError as error:
        return str(error.headers["Location"])
    raise AssertionError("no redirect")


def test_a_browser_on_this_machine(oauth: OAuthServer, browse: Callable[..., tuple[str, str]], free_port: int) -> None:
    out, said = browse(visit, "--port", str(free_port))
    url = re.findall(r"http://127\S+authorize\S+", out)[0]
    assert said == ""
    assert out == (
        f"In a browser, open this address and sign in as {USER}:\n{url}\n"
        f"The browser is then sent to http://127.0.0.1:{free_port} on this machine. If it runs on another machine, "
        f"that page does not load: copy its address from the browser and paste it here.\n{DONE}"
    )
    asked = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    assert asked.pop("state")
    assert len(asked.pop("code_challenge")) == 43
    assert asked == {
        "response_type": "code",
        "client_id": CLIENT,
        "redirect_uri": f"http://127.0.0.1:{free_port}",
        "scope": SCOPE,
        "code_challenge_method": "S256",
        "login_hint": USER,
    }
    assert oauth.takes(tokens.Tokens(_mine())(Deadline(5)).value)
    assert [form["grant_type"] for form in oauth.of("/token")] == ["authorization_code"]


def _mine() -> Configuration:
    found = configurations.from_options(transport.options())
    assert found
    return found


def test_a_browser_elsewhere_and_its_address_pasted(
    oauth: OAuthServer, browse: Callable[..., tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    ready = threading.Event()

    def pasted() -> Iterator[str]:
        ready.wait(10)
        yield from lines

    monkeypatch.setattr(sys, "stdin", pasted())

    def paste(url: str, out: Output) -> None:
        right = address_after(url)
        wrong = right.replace("state=", "state=x")
        lines.extend(["\n", "hello\n", "http://[\n", f"{wrong}\n", f"  {right}\n"])
        ready.set()

    out, said = browse(paste)
    assert said == ""
    uri = re.findall(r"sent to (\S+)", out)[0]
    assert out.count(f"That is not the address the browser was sent to; it begins with {uri}\n") == 3
    assert out.endswith(DONE)


def test_a_page_with_another_state_changes_nothing(oauth: OAuthServer, browse: Callable[..., tuple[str, str]]) -> None:
    def attack(url: str, out: Output) -> None:
        uri = parse_qs(urlsplit(url).query)["redirect_uri"][0]
        for query in ("code=stolen&state=guess", "", "state=&code=x", "code=x"):
            with pytest.raises(urllib.error.HTTPError, match="400") as caught:
                urllib.request.urlopen(f"{uri}/?{query}")
            assert "This page is not part of the sign-in that is running." in caught.value.read().decode()
        visit(url, out)

    assert browse(attack)[0].endswith(DONE)


def test_a_person_who_declines(browse: Callable[..., tuple[str, str]]) -> None:
    def decline(url: str, out: Output) -> None:
        asked = parse_qs(urlsplit(url).query)
        urllib.request.urlopen(f"{asked['redirect_uri'][0]}/?error=access_denied&state={asked['state'][0]}")

    assert browse(decline)[1] == (
        "127.0.0.1: access_denied: no description\n"
        "cause: The sign-in was declined, or its code expired before it was completed.\n"
        "fix: Run manage.py mailauth again and complete the sign-in."
    )
    assert not OAuthToken.objects.exists()


def test_nobody_comes(use: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sign_in.Redirect.wait, "__defaults__", (0.1,))
    assert refused().startswith("127.0.0.1: expired_token: no one signed in\ncause: The sign-in was declined")


@pytest.fixture
def device(oauth: OAuthServer, use: Any, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A provider with a device endpoint; the seconds that were slept."""
    slept: list[float] = []
    known = Authority(token_url=oauth.token_url, device_url=oauth.device_url, scope=SCOPE)
    monkeypatch.setattr(configurations, "_authority", lambda *args: known)
    monkeypatch.setattr(sign_in.by_device, "__kwdefaults__", {"sleep": slept.append})
    return slept


def test_a_device_code(oauth: OAuthServer, device: list[float]) -> None:
    pending = (400, '{"error": "authorization_pending"}')
    slow = (400, '{"error": "slow_down"}')
    asked = [None, pending, slow, (503, ""), pending]
    oauth.faults.extend(asked)
    original, count = oauth.answer, iter(range(99))

    def answer(method: str, path: str, body: str) -> Any:
        if path == "/token" and next(count) == 0:
            oauth.approve()
        return original(method, path, body)

    oauth.answer = answer  # type: ignore[method-assign]
    assert run() == (
        f"In a browser on any device, open {oauth.url}/device\n"
        f"Enter the code WDJB-MJHT within 1 min, and sign in as {USER}.\n{DONE}"
    )
    assert device == [1, 1, 6, 11, 11]
    assert oauth.of("/devicecode") == [{"client_id": CLIENT, "client_secret": SECRET, "scope": SCOPE}]


@pytest.mark.parametrize("state", ["access_denied", "expired_token"])
def test_a_device_code_that_was_declined_or_is_too_old(
    oauth: OAuthServer, device: list[float], state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sign_in.by_device, "__kwdefaults__", {"sleep": lambda seconds: oauth.approve(state)})
    assert f"{state}: no description\ncause: The sign-in was declined" in refused("--device")


def test_a_device_code_that_nobody_enters(
    oauth: OAuthServer, device: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    code = grants.device_code(_mine(), Deadline(5))
    with pytest.raises(Exception, match="expired_token: no one signed in"):
        sign_in.by_device(_mine(), grants.DeviceCode(**{**vars(code), "lifetime": -1}), sleep=device.append)


@pytest.mark.parametrize("answer", ["{}", '{"device_code": "x"}', '{"device_code": 1, "user_code": "a"}'])
def test_a_device_endpoint_that_answers_nonsense(oauth: OAuthServer, device: list[float], answer: str) -> None:
    oauth.faults.append((200, answer))
    said = refused()
    assert said.startswith("127.0.0.1: no device code in the answer\ncause: The authorization server cannot be")
    assert said.endswith("\nfix: Check the network, then run this again.")


def test_an_app_alone_needs_no_person(oauth: OAuthServer, use: Callable[..., None]) -> None:
    use(oauth_authorize_url="")
    assert run() == (
        "The app signs in alone, with its secret; no person needs to sign in.\n"
        "An access token was issued (from 127.0.0.1, valid for 60 min).\n"
        "Next: manage.py sendtestmail --check\n"
    )


def test_an_app_alone_with_a_wrong_secret(oauth: OAuthServer, use: Callable[..., None]) -> None:
    use(oauth_authorize_url="", oauth_client_secret="wrong-secret-0123456789")
    assert refused() == (
        "127.0.0.1: invalid_client: no description\n"
        "cause: The client secret is wrong.\n"
        "fix: Set MAIL_OAUTH_CLIENT_SECRET to the secret's value (Microsoft: not its Secret ID), and check "
        "MAIL_OAUTH_CLIENT_ID."
    )


def test_another_project_is_told_the_names_of_its_own_settings(use: Callable[..., None], settings: Any) -> None:
    del settings.FLASKY_ADMIN
    use(oauth_authorize_url="", oauth_client_secret="wrong-secret-0123456789")
    said = refused()
    assert "oauth_client_secret of NOTIFY_TRANSPORT" in said
    use(oauth_client_id="")
    said += refused(returncode=2)
    assert "oauth_client_id of NOTIFY_TRANSPORT is not set" in said
    assert not re.search("MAIL_OAUTH_[A-Z]", said)


def test_an_answer_without_a_refresh_token_is_none(oauth: OAuthServer, browse: Callable[..., tuple[str, str]]) -> None:
    oauth.faults.append((200, '{"access_token": "a", "token_type": "Bearer"}'))
    assert browse(visit)[1] == (
        "127.0.0.1 issued no refresh token. Often MAIL_OAUTH_SCOPE must name offline_access, too."
    )


def test_a_sign_in_replaces_what_was_there(
    oauth: OAuthServer, use: Callable[..., None], browse: Callable[..., tuple[str, str]]
) -> None:
    given = oauth.permit()
    use(oauth_refresh_token=given)
    tokens.Tokens(_mine())(Deadline(5))
    browse(visit)
    later = store.refresh_token(OAuthToken.objects.get(), _mine())
    assert later not in ("", given)
    assert later == list(oauth.validator.refresh)[-1]


def test_delivery_that_is_on_hold_is_tried_again(oauth: OAuthServer, browse: Callable[..., tuple[str, str]]) -> None:
    queue()
    Relay.current()
    breaker.report_failure(breaker.Permit(), Decision(outcome=Outcome.HOLD, delay=900), reason="x", diagnosis="")
    assert "Delivery had stopped; retrying now.\n" in browse(visit)[0]
    assert breaker.admit() == breaker.Permit(probe=True, failures=1)


@pytest.mark.parametrize(
    ("options", "words", "complaint"),
    [
        ({"oauth_authorize_url": "", "oauth_client_secret": ""}, [], "MAIL_OAUTH_AUTHORIZE_URL is not set, so no one"),
        ({}, ["--device"], "127.0.0.1 does not support device codes for mail: use --browser"),
    ],
)
def test_a_way_that_there_is_not(
    use: Callable[..., None], options: dict[str, Any], words: list[str], complaint: str
) -> None:
    use(**options)
    assert refused(*words, returncode=2).startswith(complaint)


MICROSOFT = """\
MAIL_OAUTH_CLIENT_ID is not set.
What to register:
1. Microsoft Entra admin center (https://entra.microsoft.com), App registrations: register an app.
2. Set MAIL_OAUTH_CLIENT_ID to its Application (client) ID and MAIL_OAUTH_TENANT to its Directory (tenant) ID.
3. For one mailbox: under Authentication add the platform Mobile and desktop applications with the redirect address \
http://localhost, and allow public client flows.
4. Then, under API permissions, add Office 365 Exchange Online or Microsoft Graph, Delegated: SMTP.Send. Run manage.py \
mailauth and sign in as MAIL_USERNAME.
5. For the app alone, without a person: under API permissions add Office 365 Exchange Online, Application: \
SMTP.SendAsApp, and grant admin consent. Under Certificates & secrets make a secret and put its value into \
MAIL_OAUTH_CLIENT_SECRET; register the app in Exchange (docs/providers.md)."""
GOOGLE = """\
MAIL_OAUTH_CLIENT_ID is not set.
What to register:
1. Google Cloud console (https://console.cloud.google.com): create a project.
2. Google Auth Platform, Audience: Internal for Workspace; else External, published (In production).
3. Data access: add the scope https://mail.google.com/
4. Clients: create one of the type Desktop app. Set MAIL_OAUTH_CLIENT_ID and MAIL_OAUTH_CLIENT_SECRET to its values.
5. Run manage.py mailauth and sign in as MAIL_USERNAME."""
OTHER = """\
MAIL_OAUTH_CLIENT_ID is not set.
What to register:
1. Register an app with the provider, with the redirect address http://127.0.0.1, and set MAIL_OAUTH_CLIENT_ID.
2. Set MAIL_OAUTH_TOKEN_URL, MAIL_OAUTH_AUTHORIZE_URL and MAIL_OAUTH_SCOPE to what the provider documents for SMTP."""


@pytest.mark.parametrize(
    ("host", "text"), [("smtp.office365.com", MICROSOFT), ("smtp.gmail.com", GOOGLE), ("mail.example.com", OTHER)]
)
def test_what_to_register_is_told_where_nothing_is_set(
    use_transport: Callable[..., None], host: str, text: str
) -> None:
    use_transport("notify.smtp.backend.EmailBackend", host=host, username=USER)
    assert refused(returncode=2) == text


class TestStatus:
    def test_before_anyone_has_signed_in(self, use: Any) -> None:
        assert run("--status") == (
            f"mailbox: {USER}\nclient: {CLIENT}\nissued by: 127.0.0.1\nscope: {SCOPE}\nsigned in: never\n"
            "refresh token: none: run manage.py mailauth\naccess token: none\nlast renewal: never\nlast error: none\n"
            "secret expires: not known (MAIL_OAUTH_EXPIRES)\n"
        )

    def test_after_it(self, oauth: OAuthServer, browse: Callable[..., tuple[str, str]], settings: Any) -> None:
        oauth.validator.refresh_lifetime = 86400
        settings.MAIL_OAUTH_EXPIRES = date(2027, 1, 31)
        browse(visit)
        at = timezone.now()
        OAuthToken.objects.update(
            authorized_at=at, renewed_at=at, expires_at=at + timedelta(hours=1), refresh_expires_at=at
        )
        shown = f"{timezone.localtime(at):%Y-%m-%d %H:%M %Z}"
        until = f"{timezone.localtime(at + timedelta(hours=1)):%Y-%m-%d %H:%M %Z}"
        assert run("--status") == (
            f"mailbox: {USER}\nclient: {CLIENT}\nissued by: 127.0.0.1\nscope: {SCOPE}\nsigned in: {shown}\n"
            f"refresh token: stored, until {shown}\naccess token: valid until {until}\nlast renewal: {shown}\n"
            "last error: none\nsecret expires: 2027-01-31\n"
        )

    @pytest.mark.parametrize(
        ("options", "columns", "line"),
        [
            ({"oauth_refresh_token": "mine"}, {}, "refresh token: from MAIL_OAUTH_REFRESH_TOKEN"),
            ({"oauth_authorize_url": ""}, {}, "refresh token: none; not needed, because the app signs in alone"),
            ({}, {"refresh_token": "nonsense"}, "refresh token: stored, but encrypted with another key"),
            ({}, {"access_token": "x", "expires_at": "past"}, "access token: expired 2026-01-02 03:04 UTC"),
            (
                {},
                {"error": "x: invalid_grant", "failed_at": "past"},
                "last error: 2026-01-02 03:04 UTC: x: invalid_grant",
            ),
        ],
    )
    def test_each_state_in_words(
        self, use: Callable[..., None], options: dict[str, Any], columns: dict[str, Any], line: str
    ) -> None:
        use(**options)
        past = timezone.now().replace(2026, 1, 2, 3, 4)
        store.read(_mine())
        OAuthToken.objects.update(**{name: past if value == "past" else value for name, value in columns.items()})
        assert line in run("--status").splitlines()


class TestRevoke:
    def test_what_is_not_there(self, use: Any) -> None:
        assert run("--revoke") == f"There is nothing to revoke for {USER}.\n"

    def test_at_the_provider_and_here(self, oauth: OAuthServer, use: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        known = Authority(token_url=oauth.token_url, revoke_url=oauth.revoke_url, scope=SCOPE)
        monkeypatch.setattr(configurations, "_authority", lambda *args: known)
        given = grants.Secret(oauth.permit())
        store.authorize(_mine(), grants.Answer(access_token=given, lifetime=60, refresh_token=given))
        assert run("--revoke") == "Revoked at 127.0.0.1 and deleted here.\n"
        assert oauth.validator.refresh[given].void
        assert not OAuthToken.objects.exists()

    def test_a_provider_that_is_away_keeps_it(
        self, oauth: OAuthServer, use: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        known = Authority(token_url=oauth.token_url, revoke_url=oauth.revoke_url, scope=SCOPE)
        monkeypatch.setattr(configurations, "_authority", lambda *args: known)
        given = grants.Secret(oauth.permit())
        store.authorize(_mine(), grants.Answer(access_token=given, lifetime=60, refresh_token=given))
        oauth.faults.append((503, ""))
        assert refused("--revoke").startswith("127.0.0.1: HTTP 503\ncause: The authorization server cannot be reached")
        assert OAuthToken.objects.exists()

    def test_here_where_the_provider_has_no_address_for_it(self, oauth: OAuthServer, use: Callable[..., None]) -> None:
        use(oauth_refresh_token=oauth.permit())
        tokens.Tokens(_mine())(Deadline(5))
        assert run("--revoke") == (
            "Deleted here. To revoke the permission, remove the app in the account's settings at 127.0.0.1.\n"
            "MAIL_OAUTH_REFRESH_TOKEN is still set: unset it, too.\n"
        )
        assert not OAuthToken.objects.exists()


def test_no_secret_is_printed(oauth: OAuthServer, browse: Callable[..., tuple[str, str]]) -> None:
    out, _ = browse(visit)
    shown = out + run("--status") + run("--revoke")
    for secret in (SECRET, *oauth.validator.refresh, *oauth.validator.access):
        assert secret not in shown
