"""Access tokens: by which grant, cached, renewed in time, shared by processes, and never lost."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError, InterfaceError, connection, transaction
from django.utils import timezone

from notify.models import OAuthToken
from notify.oauth import store, tokens
from notify.oauth.configuration import Configuration
from notify.oauth.endpoint import TokenRefused, TokenUnavailable
from notify.oauth.tokens import Tokens
from notify.smtp.dial import Deadline
from tests.oauth.server import CLIENT, SCOPE, SECRET, OAuthServer

Make = Callable[..., Configuration]
pytestmark = pytest.mark.django_db


def fetch(configuration: Configuration, refused: str = "", seconds: float = 5) -> str:
    return Tokens(configuration)(Deadline(seconds), refused).value


def later(**passed: int) -> None:
    """Time passes: what the row and the cache say of times moves into the past."""
    delta = timedelta(**passed)
    for row in OAuthToken.objects.all():
        for name in ("expires_at", "renew_at", "claimed_until"):
            if moment := getattr(row, name):
                setattr(row, name, moment - delta)
        row.save()
    tokens.forget()


def test_an_app_alone_needs_its_secret(oauth: OAuthServer, configured: Make) -> None:
    app = configured(oauth_authorize_url="")
    assert oauth.takes(fetch(app))
    assert oauth.of("/token") == [
        {"grant_type": "client_credentials", "client_id": CLIENT, "client_secret": SECRET, "scope": SCOPE}
    ]


def test_a_refresh_token_of_the_operator_brings_the_first_token(oauth: OAuthServer, configured: Make) -> None:
    given = oauth.permit()
    assert oauth.takes(fetch(configured(oauth_refresh_token=given)))
    assert oauth.of("/token") == [
        {
            "grant_type": "refresh_token",
            "client_id": CLIENT,
            "client_secret": SECRET,
            "scope": SCOPE,
            "refresh_token": given,
        }
    ]


def test_without_a_refresh_token_a_person_is_asked_for(configured: Make) -> None:
    with pytest.raises(TokenRefused, match=r"no refresh token: sign in once with manage\.py mailauth"):
        fetch(configured())


def test_a_token_is_fetched_once_and_used_until_five_minutes_before_its_end(
    oauth: OAuthServer, configured: Make
) -> None:
    mine = configured(oauth_refresh_token=oauth.permit())
    first = fetch(mine)
    assert fetch(mine) == first
    later(minutes=54)
    assert fetch(mine) == first
    later(minutes=2)
    assert fetch(mine) != first
    assert len(oauth.of("/token")) == 2


def test_where_the_token_is_from_is_told(oauth: OAuthServer, configured: Make) -> None:
    mine = Tokens(configured(oauth_refresh_token=oauth.permit()))
    assert mine(Deadline(5)).origin == "from 127.0.0.1, valid for 60 min"
    assert mine(Deadline(5)).origin == "cached, valid for 60 min"
    tokens.forget()
    assert mine(Deadline(5)).origin == "stored, valid for 60 min"


@pytest.mark.parametrize(("lifetime", "renewed"), [(2, 1), (3600, 3300), (600, 300), (400, 200)])
def test_a_token_is_renewed_at_half_its_life_where_that_is_short(
    oauth: OAuthServer, configured: Make, lifetime: int, renewed: int
) -> None:
    oauth._seconds = lifetime
    fetch(configured(oauth_refresh_token=oauth.permit()))
    row = OAuthToken.objects.get()
    assert row.expires_at
    assert row.renew_at
    assert (row.expires_at - row.renew_at).total_seconds() == lifetime - renewed


def test_a_refused_token_is_renewed_though_it_has_time_left(oauth: OAuthServer, configured: Make) -> None:
    mine = configured(oauth_refresh_token=oauth.permit())
    first = fetch(mine)
    second = fetch(mine, refused=first)
    assert second != first
    # Another thread had the first one refused, too: the second is good for it.
    assert fetch(mine, refused=first) == second
    assert len(oauth.of("/token")) == 2


def test_a_rotated_refresh_token_replaces_the_old_one(oauth: OAuthServer, configured: Make) -> None:
    given = oauth.permit()
    mine = configured(oauth_refresh_token=given)
    for _ in range(3):
        fetch(mine)
        later(hours=1)
    used = [form["refresh_token"] for form in oauth.of("/token")]
    assert used[0] == given
    assert len(set(used)) == 3
    assert oauth.validator.races == 0


def test_a_refresh_token_that_is_not_rotated_stays(oauth: OAuthServer, configured: Make) -> None:
    oauth.validator.rotates = False
    given = oauth.permit()
    mine = configured(oauth_refresh_token=given)
    for _ in range(2):
        fetch(mine)
        later(hours=1)
    assert [form["refresh_token"] for form in oauth.of("/token")] == [given, given]


def test_another_refresh_token_of_the_operator_wins_over_the_stored_one(oauth: OAuthServer, configured: Make) -> None:
    fetch(configured(oauth_refresh_token=oauth.permit()))
    later(hours=1)
    newer = oauth.permit()
    fetch(configured(oauth_refresh_token=newer))
    assert oauth.of("/token")[-1]["refresh_token"] == newer


def test_the_stored_refresh_token_lasts_when_the_variable_is_gone(oauth: OAuthServer, configured: Make) -> None:
    fetch(configured(oauth_refresh_token=oauth.permit()))
    later(hours=1)
    assert oauth.takes(fetch(configured()))


def test_no_token_is_in_the_database_in_clear(oauth: OAuthServer, configured: Make) -> None:
    given = oauth.permit()
    token = fetch(configured(oauth_refresh_token=given))
    row = OAuthToken.objects.get()
    everything = " ".join(str(value) for value in vars(row).values())
    for secret in (given, token, SECRET, *oauth.validator.refresh):
        assert secret not in everything
    stored = store.access(row)
    assert stored
    assert stored.token == token


def test_a_new_key_reads_what_the_old_one_wrote_and_writes_it_again(
    oauth: OAuthServer, configured: Make, settings: Any
) -> None:
    mine, old = configured(oauth_refresh_token=oauth.permit()), settings.SECRET_KEY
    fetch(mine)
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "new" * 20, [old]
    later(hours=1)
    fetch(configured())
    settings.SECRET_KEY_FALLBACKS = []
    settings.MAIL_OAUTH_KEY = "own" * 20
    later(hours=1)
    fetch(configured())
    settings.SECRET_KEY = "newest" * 10
    later(hours=1)
    assert oauth.takes(fetch(configured()))


def test_a_lost_key_is_told(oauth: OAuthServer, configured: Make, settings: Any) -> None:
    fetch(configured(oauth_refresh_token=oauth.permit()))
    tokens.forget()
    settings.SECRET_KEY = "lost" * 20
    with pytest.raises(
        TokenRefused, match="the stored refresh token cannot be decrypted: it was encrypted with another"
    ):
        fetch(configured())


def test_revocation_is_a_refusal_that_is_kept(oauth: OAuthServer, configured: Make) -> None:
    mine = configured(oauth_refresh_token=oauth.permit())
    first = fetch(mine)
    oauth.validator.revoke_family(oauth.validator.access[first].family)
    with pytest.raises(TokenRefused, match=r"^127\.0\.0\.1: invalid_grant: no description$"):
        fetch(mine, refused=first)
    row = OAuthToken.objects.get()
    assert (row.error, row.claim) == ("127.0.0.1: invalid_grant: no description", "")
    assert row.failed_at


def test_a_success_clears_the_error(oauth: OAuthServer, configured: Make) -> None:
    mine = configured(oauth_refresh_token=oauth.permit())
    oauth.faults.append((500, "broken"))
    with pytest.raises(TokenUnavailable):
        fetch(mine)
    fetch(mine)
    assert (OAuthToken.objects.get().error, OAuthToken.objects.get().failed_at) == ("", None)


def test_while_the_server_is_away_a_token_is_used_until_it_ends(oauth: OAuthServer, configured: Make) -> None:
    mine = configured(oauth_refresh_token=oauth.permit())
    first = fetch(mine)
    later(minutes=57)
    oauth.faults.extend([(503, ""), (503, "")])
    assert fetch(mine) == first
    later(minutes=4)
    with pytest.raises(TokenUnavailable, match=r"^127\.0\.0\.1: HTTP 503$"):
        fetch(mine)


def test_a_known_end_of_the_refresh_token_is_kept(oauth: OAuthServer, configured: Make) -> None:
    oauth.validator.refresh_lifetime = 7 * 86400
    fetch(configured(oauth_refresh_token=oauth.permit()))
    ends = OAuthToken.objects.get().refresh_expires_at
    assert ends
    assert abs(ends - timezone.now() - timedelta(days=7)) < timedelta(minutes=1)


def test_a_process_waits_for_another_that_renews(oauth: OAuthServer, configured: Make) -> None:
    mine = configured(oauth_refresh_token=oauth.permit())
    row = store.read(mine)
    assert store.claim(row, 30)
    with pytest.raises(TokenUnavailable, match="another process is still renewing the token"):
        fetch(mine, seconds=0.3)
    assert oauth.requests == []
    later(seconds=31)  # it has died
    assert oauth.takes(fetch(mine))


def test_a_lease_is_for_one_and_for_the_row_as_it_was_read(configured: Make) -> None:
    row = store.read(configured())
    first = store.claim(row, 30)
    assert first
    assert store.claim(row, 30) == ""
    store.failed(row, "another", "words")
    assert store.claim(row, 30) == ""
    store.failed(row, first, "words")
    OAuthToken.objects.update(access_token="changed")
    assert store.claim(row, 30) == ""


def test_a_renewal_that_comes_late_changes_nothing(oauth: OAuthServer, configured: Make) -> None:
    mine = configured(oauth_refresh_token=oauth.permit())
    stale = store.read(mine)
    fetch(mine)
    kept = OAuthToken.objects.get().refresh_token
    answer = tokens.grants.Answer(access_token=store.Secret("late"), lifetime=9, refresh_token=store.Secret("late"))
    store.save(stale, mine, store.Secret(""), answer)
    assert OAuthToken.objects.get().refresh_token == kept


@pytest.mark.parametrize("error", [DatabaseError, InterfaceError])
def test_what_the_database_does_not_take_is_stored_before_the_next_renewal(
    oauth: OAuthServer,
    configured: Make,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: type[Exception],
) -> None:
    mine = configured(oauth_refresh_token=oauth.permit())

    def fail(*args: Any) -> None:
        raise error("disk full")

    with monkeypatch.context() as broken:
        broken.setattr(store, "save", fail)
        assert oauth.takes(fetch(mine))
    assert "the renewed token could not be stored, which is tried again: disk full" in caplog.text
    tokens.forget()
    fetch(mine)
    later(hours=1)
    assert oauth.takes(fetch(mine))
    assert oauth.validator.races == 0
    assert len({form["refresh_token"] for form in oauth.of("/token")}) == 2


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("error", [DatabaseError, InterfaceError])
def test_a_database_that_is_away_is_an_outage(configured: Make, error: type[Exception]) -> None:
    def away(*args: Any) -> Any:
        raise error("connection already closed")

    mine = configured(oauth_refresh_token="given")
    words = "the database does not answer: connection already closed"
    with connection.execute_wrapper(away), pytest.raises(TokenUnavailable, match=words):
        fetch(mine)


def test_no_token_is_fetched_inside_a_transaction(oauth: OAuthServer, configured: Make) -> None:
    with transaction.atomic(), pytest.raises(RuntimeError, match="durable"):
        fetch(configured(oauth_refresh_token=oauth.permit()))
    assert oauth.requests == []


@pytest.mark.django_db(transaction=True)
def test_threads_share_one_token(oauth: OAuthServer, configured: Make) -> None:
    mine = configured(oauth_refresh_token=oauth.permit())
    oauth.faults.append(0.2)
    found: list[str] = []

    def run() -> None:
        found.append(fetch(mine))
        connection.close()

    threads = [threading.Thread(target=run) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert len(oauth.of("/token")) == 1


@pytest.mark.django_db(transaction=True)
def test_a_thread_waits_no_longer_than_its_attempt_may(oauth: OAuthServer, configured: Make) -> None:
    mine = configured(oauth_refresh_token=oauth.permit())
    with tokens._lock, pytest.raises(TokenUnavailable, match="another thread is still waiting for the token"):
        fetch(mine, seconds=0.1)
