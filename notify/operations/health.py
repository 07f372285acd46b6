"""Whether mail works, for machines that ask: /livez without the database, /readyz with reasons for who may see them."""

from typing import Any

from django.db import DatabaseError
from django.http import HttpRequest, JsonResponse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from notify import conf
from notify.operations import machines, metrics
from notify.operations.status import Status


@require_safe
@never_cache
def livez(request: HttpRequest) -> JsonResponse:
    """200 while this process answers at all."""
    return JsonResponse({"status": "ok"})


@require_safe
@never_cache
def readyz(request: HttpRequest) -> JsonResponse:
    """200, or 503: no database, migrations to be applied, an overdue message, or delivery interrupted or on hold.

    Everyone may see the relay's state and the id of its diagnosis; its replies, what an operator typed, and since when
    are for those who may read /metrics.
    """
    try:
        if missing := machines.unapplied_migrations():
            reason = _("Migrations are not applied: %s. Run manage.py migrate.") % ", ".join(missing)
            return _answer(503, [reason] if metrics.has_token(request) else None, database="behind")
        status = Status()
        facts, trusted = status.health(), metrics.may_see_relay(request)
    except DatabaseError as error:
        # No session can be read now.
        known = [_("The database does not answer: %s") % type(error).__name__] if metrics.has_token(request) else None
        return _answer(503, known, database="unreachable")
    reasons = _shortcomings(status, facts)
    code = 503 if reasons else 200
    if trusted:
        return _answer(code, reasons, database="ok", warnings=status.disagreements, **facts)
    return _answer(code, None, database="ok", relay={name: facts["relay"][name] for name in ("state", "diagnosis")})


def _shortcomings(status: Status, facts: dict[str, Any]) -> list[str]:
    found = []
    limit = conf.NOTIFY_READY_SECONDS
    if (facts["oldest_due_seconds"] or 0) > limit:
        found.append(
            _("A message has been due for %(age)d s (limit %(limit)d s): is a worker running?")
            % {"age": facts["oldest_due_seconds"], "limit": limit}
        )
    if status.in_trouble:
        said = {**facts["relay"], "state": status.relay.get_state_display()}
        found.append(_("The relay is %(state)s since %(since)s: %(reason)s") % said)
    return found


def _answer(status: int, reasons: list[str] | None, **facts: Any) -> JsonResponse:
    said = {"status": "ready" if status == 200 else "not ready"}
    return JsonResponse({**said, **({} if reasons is None else {"reasons": reasons}), **facts}, status=status)
