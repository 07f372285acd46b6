"""Whether mail works, for machines that ask: /livez without the database, /readyz with reasons for who may see them."""

from typing import Any

from django.conf import settings
from django.db import DatabaseError
from django.http import HttpRequest, JsonResponse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from notify.models import Relay
from notify.operations import actions, metrics


@require_safe
@never_cache
def livez(request: HttpRequest) -> JsonResponse:
    """200 while this process answers at all."""
    return JsonResponse({"status": "ok"})


@require_safe
@never_cache
def readyz(request: HttpRequest) -> JsonResponse:
    """200, or 503: no database, a due message that nobody sends, a relay that takes nothing.

    Everybody hears the relay's state and the id of its diagnosis; what it said, what an operator typed, and since when,
    only those who may read /metrics.
    """
    try:
        facts, trusted = actions.health(), metrics.may_see_relay(request)
    except DatabaseError as error:
        # Nobody's session can be read now.
        known = [_("The database does not answer: %s") % type(error).__name__] if metrics.has_token(request) else None
        return _answer(503, known, database="unreachable")
    reasons = _shortcomings(facts)
    status = 503 if reasons else 200
    if trusted:
        return _answer(status, reasons, database="ok", **facts)
    return _answer(status, None, database="ok", relay={name: facts["relay"][name] for name in ("state", "diagnosis")})


def _shortcomings(facts: dict[str, Any]) -> list[str]:
    found = []
    limit = settings.NOTIFY_READY_SECONDS
    if (facts["oldest_due_seconds"] or 0) > limit:
        found.append(
            _("A message has been due for %(age)d s (limit %(limit)d s): is a worker running?")
            % {"age": facts["oldest_due_seconds"], "limit": limit}
        )
    relay = facts["relay"]
    if relay["state"] in (Relay.State.DOWN, Relay.State.HELD):
        said = {**relay, "state": Relay.State(relay["state"]).label}
        found.append(_("The relay is %(state)s since %(since)s: %(reason)s") % said)
    return found


def _answer(status: int, reasons: list[str] | None, **facts: Any) -> JsonResponse:
    said = {"status": "ready" if status == 200 else "not ready"}
    return JsonResponse({**said, **({} if reasons is None else {"reasons": reasons}), **facts}, status=status)
