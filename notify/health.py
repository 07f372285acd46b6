"""Whether mail works, for machines that ask: /livez without the database, /readyz with reasons."""

from typing import Any

from django.conf import settings
from django.db import DatabaseError
from django.http import HttpRequest, JsonResponse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from notify import operations
from notify.models import Relay


@require_safe
@never_cache
def livez(request: HttpRequest) -> JsonResponse:
    """200 while this process answers at all."""
    return JsonResponse({"status": "ok"})


@require_safe
@never_cache
def readyz(request: HttpRequest) -> JsonResponse:
    """200, or 503 with the reasons: no database, a due message that nobody sends, a relay that takes nothing."""
    try:
        facts = operations.health()
    except DatabaseError as error:
        return _answer([_("The database does not answer: %s") % type(error).__name__], database="unreachable")
    return _answer(_shortcomings(facts), database="ok", **facts)


def _shortcomings(facts: dict[str, Any]) -> list[str]:
    found = []
    limit = settings.NOTIFY_READY_SECONDS
    if (facts["oldest_due_seconds"] or 0) > limit:
        found.append(
            _("A message has been due for %(age)d s (limit %(limit)d s): is delivery running?")
            % {"age": facts["oldest_due_seconds"], "limit": limit}
        )
    relay = facts["relay"]
    if relay["state"] in (Relay.State.DOWN, Relay.State.HELD):
        said = {**relay, "state": Relay.State(relay["state"]).label}
        found.append(_("The relay is %(state)s since %(since)s: %(reason)s") % said)
    return found


def _answer(reasons: list[str], **facts: Any) -> JsonResponse:
    status = "not ready" if reasons else "ready"
    return JsonResponse({"status": status, "reasons": reasons, **facts}, status=503 if reasons else 200)
