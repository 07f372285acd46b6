"""What a stranger hears of mail: whether it works, and the id of what is wrong; nobody's words."""

from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import OperationalError
from django.test import Client

from notify.delivery import breaker
from notify.delivery.retry import Decision
from notify.models import Outcome, Relay
from notify.operations.status import Status
from tests.delivery.test_claims import queue

pytestmark = pytest.mark.django_db

TOKEN = "s3cret-tökén"
TYPED = "root: firing bob: host db1.internal"
SAID = "535 5.7.8 bad login at mx7.internal [10.0.0.7]"


def pause() -> None:
    breaker.pause(TYPED)


def hold() -> None:
    Relay.current()
    decision = Decision(outcome=Outcome.HOLD, delay=900)
    breaker.report_failure(breaker.Permit(), decision, reason=SAID, diagnosis="bad-credentials")


def take_down() -> None:
    Relay.current()
    decision = Decision(outcome=Outcome.DOWN, delay=15)
    breaker.report_failure(breaker.Permit(), decision, reason=SAID, diagnosis="refused")


def let_wait() -> None:
    queue(1)


TROUBLES = [
    (pause, "paused", ""),
    (hold, "held", "bad-credentials"),
    (take_down, "down", "refused"),
    (let_wait, "open", ""),
]
troubles = pytest.mark.parametrize(("trouble", "state", "diagnosis"), TROUBLES)


@troubles
@pytest.mark.parametrize("token", ["", "Bearer wrong", "Basic x", "Bearer", "Bearer "])
def test_a_stranger_hears_state_and_diagnosis_alone(
    client: Client, settings: Any, trouble: Any, state: str, diagnosis: str, token: str
) -> None:
    settings.NOTIFY_METRICS_TOKEN, settings.NOTIFY_READY_SECONDS = TOKEN, 1
    trouble()
    answer = client.get("/mailz", headers={"authorization": token} if token else {})
    works = state == "paused"
    assert answer.status_code == (200 if works else 503)
    assert answer.json() == {
        "status": "ok" if works else "failing",
        "database": "ok",
        "relay": {"state": state, "diagnosis": diagnosis},
    }


@troubles
def test_who_has_the_token_hears_the_reasons(
    client: Client, settings: Any, trouble: Any, state: str, diagnosis: str
) -> None:
    settings.NOTIFY_METRICS_TOKEN, settings.NOTIFY_READY_SECONDS = TOKEN, 1
    trouble()
    facts = client.get("/mailz", headers={"authorization": f"Bearer {TOKEN}"}).json()
    assert facts["relay"]["reason"] == {"paused": TYPED, "open": ""}.get(state, SAID)
    assert bool(facts["reasons"]) is (state != "paused")


@pytest.mark.parametrize(
    ("staff", "permission", "active", "hears"),
    [(True, True, True, True), (True, False, True, False), (False, True, True, False), (True, True, False, False)],
)
def test_so_do_staff_who_may_see_the_relay(
    client: Client, staff: bool, permission: bool, active: bool, hears: bool
) -> None:
    user = User.objects.create_user("ann", is_staff=staff)
    if permission:
        user.user_permissions.add(Permission.objects.get(codename="view_relay"))
    client.force_login(user)
    User.objects.update(is_active=active)
    pause()
    assert (TYPED in client.get("/mailz").content.decode()) is hears


@pytest.mark.parametrize("who", ["stranger", "staff", "token"])
def test_a_database_that_is_away_tells_a_stranger_that_it_is_and_no_more(
    client: Client, settings: Any, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    settings.NOTIFY_METRICS_TOKEN = TOKEN
    if who == "staff":
        client.force_login(User.objects.create_superuser("root"))

    def away(self: Status) -> None:
        raise OperationalError("connection to db1.internal refused")

    monkeypatch.setattr(Status, "health", away)
    answer = client.get("/mailz", headers={"authorization": f"Bearer {TOKEN}"} if who == "token" else {})
    assert answer.status_code == 503
    assert "db1.internal" not in answer.content.decode()
    assert ("reasons" in answer.json()) is (who == "token")
    assert answer.json()["database"] == "unreachable"


@pytest.mark.parametrize(
    "path", ["/", "/livez", "/readyz", "/mailz", "/metrics", "/nowhere", "/admin/", "/admin/login/"]
)
@pytest.mark.parametrize("host", ["testserver", "evil.example"])
def test_no_page_tells_a_stranger_anybodys_words(client: Client, settings: Any, path: str, host: str) -> None:
    settings.ALLOWED_HOSTS = ["testserver"]
    for trouble in (hold, pause):
        trouble()
        said = client.get(path, follow=host == "testserver", headers={"host": host}).content.decode()
        assert not [word for word in ("bob", "internal", "10.0.0.7", "5.7.8") if word in said]
