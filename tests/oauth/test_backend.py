"""The email backend with a token that it obtains, at an SMTP server that checks it; and the outbox in front of it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.mail import EmailMessage

from notify.delivery import transport, worker
from notify.mail import send_mail
from notify.models import Attempt, Message, OAuthToken, Relay
from notify.oauth import tokens
from notify.smtp.backend import EmailBackend
from notify.smtp.failure import from_exception
from tests.oauth.server import SCOPE, SECRET, USER, OAuthServer, TokenRelay

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def relay(oauth: OAuthServer) -> Iterator[TokenRelay]:
    with TokenRelay(oauth) as server:
        yield server


@pytest.fixture
def plan(oauth: OAuthServer, relay: TokenRelay) -> dict[str, Any]:
    """The options, as settings would make them."""
    mine = {"host": "127.0.0.1", "port": relay.port, "username": USER, "password": "", "timeout": 5}
    return {**mine, "use_tls": False, "use_ssl": False, "local_hostname": "me.test", **oauth.options}


def send(backend: EmailBackend) -> None:
    try:
        backend.send_messages([EmailMessage("Hi", "Text", USER, ["you@example.com"])])
    finally:
        backend.close()


def test_the_options_are_enough(oauth: OAuthServer, relay: TokenRelay, plan: dict[str, Any]) -> None:
    send(EmailBackend(**plan, oauth_refresh_token=oauth.permit(), alias="transport"))
    assert len(relay.wait_for(1)) == 1


def test_connections_share_the_token(oauth: OAuthServer, relay: TokenRelay, plan: dict[str, Any]) -> None:
    given = oauth.permit()
    for _ in range(3):
        send(EmailBackend(**plan, oauth_refresh_token=given, alias="transport"))
    assert len(relay.wait_for(3)) == 3
    assert len(oauth.of("/token")) == 1


def test_a_token_that_was_revoked_before_its_end_is_renewed(
    oauth: OAuthServer, relay: TokenRelay, plan: dict[str, Any]
) -> None:
    mine = {**plan, "oauth_refresh_token": oauth.permit(), "alias": "transport"}
    send(EmailBackend(**mine))
    for each in oauth.validator.access.values():
        each.void = True
    send(EmailBackend(**mine))
    assert len(relay.wait_for(2)) == 2
    assert (relay.refused, len(oauth.of("/token"))) == (1, 2)


def test_two_processes_with_a_strict_server_hinder_each_other_once_at_most(
    oauth: OAuthServer, relay: TokenRelay, plan: dict[str, Any]
) -> None:
    """The other process renews, which voids the token that this one has cached."""
    mine = {**plan, "oauth_refresh_token": oauth.permit(), "alias": "transport"}
    send(EmailBackend(**mine))
    cached = dict(tokens._cache)
    tokens.forget()
    OAuthToken.objects.update(renew_at=None)
    send(EmailBackend(**mine))
    tokens._cache.update(cached)
    send(EmailBackend(**mine))
    assert len(relay.wait_for(3)) == 3
    assert (relay.refused, len(oauth.of("/token")), oauth.validator.races) == (1, 2, 0)


def test_a_proxy_and_a_name_of_this_machine_are_no_part_of_it(plan: dict[str, Any]) -> None:
    backend = EmailBackend(**plan, alias="transport")
    assert SECRET not in repr(vars(backend)) + repr(backend)


def test_without_the_app_it_says_what_it_needs(plan: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EmailBackend, "make_token_source", None)
    with pytest.raises(ImproperlyConfigured, match="OAuth needs the app `notify` in INSTALLED_APPS"):
        EmailBackend(**plan, alias="transport")


class TestTheOutbox:
    @pytest.fixture(autouse=True)
    def _use(self, use_transport: Callable[..., None], plan: dict[str, Any], oauth: OAuthServer) -> None:
        self.given = oauth.permit()
        use_transport("notify.smtp.backend.EmailBackend", **plan, oauth_refresh_token=self.given)

    def test_nothing_is_fetched_when_a_mail_is_stored(self, oauth: OAuthServer) -> None:
        send_mail("you@example.com", "Hello", "notify/mail/test")
        assert oauth.requests == []
        assert not OAuthToken.objects.exists()

    def test_a_mail_is_delivered(self, relay: TokenRelay) -> None:
        send_mail("you@example.com", "Hello", "notify/mail/test")
        worker.deliver_due()
        assert len(relay.wait_for(1)) == 1
        assert Message.objects.get().state == "sent"

    def test_a_server_that_is_away_interrupts_delivery(self, oauth: OAuthServer, relay: TokenRelay) -> None:
        send_mail("you@example.com", "Hello", "notify/mail/test")
        oauth.faults.append((503, ""))
        worker.deliver_due()
        assert (Relay.current().state, Relay.current().reason) == ("down", "TokenUnavailable: 127.0.0.1: HTTP 503")
        Relay.objects.update(next_probe=None)
        worker.deliver_due()
        assert (Relay.current().state, Message.objects.get().state) == ("open", "sent")

    def test_a_revoked_permission_puts_delivery_on_hold(self, oauth: OAuthServer) -> None:
        send_mail("you@example.com", "Hello", "notify/mail/test")
        oauth.validator.revoke_family(oauth.validator.refresh[self.given].family)
        worker.deliver_due()
        reason = "TokenRefused: 127.0.0.1: invalid_grant: no description"
        assert (Relay.current().state, Relay.current().reason) == ("held", reason)
        assert (Attempt.objects.get().phase, Attempt.objects.get().decision) == ("token", "hold")
        assert Message.objects.get().attempts == 0

    def test_a_token_that_is_refused_twice_puts_delivery_on_hold(
        self, oauth: OAuthServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        send_mail("you@example.com", "Hello", "notify/mail/test")
        monkeypatch.setattr(oauth, "takes", lambda token: False)
        worker.deliver_due()
        reason = f"535 5.7.8 Username and Password not accepted (XOAUTH2: status 401, schemes bearer, scope {SCOPE})"
        assert (Relay.current().state, Relay.current().reason) == ("held", reason)
        assert len(oauth.of("/token")) == 2

    def test_the_secrets_are_known_to_those_who_mask_them(self) -> None:
        assert {SECRET, self.given} <= set(transport.secrets())


def test_the_mark_of_the_configuration_is_the_same_in_every_process(use_transport: Callable[..., None]) -> None:
    marks = []
    for _ in range(2):

        def token() -> str:
            return "token"

        use_transport("notify.smtp.backend.EmailBackend", token=token)
        marks.append(transport.fingerprint())
    assert marks[0] == marks[1]


def test_the_phase_of_a_failure_is_the_tokens(oauth: OAuthServer, plan: dict[str, Any]) -> None:
    with pytest.raises(OSError, match="no refresh token") as caught:
        EmailBackend(**plan, alias="transport").open()
    assert from_exception(caught.value).phase == "token"
