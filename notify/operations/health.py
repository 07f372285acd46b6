"""Health, for machines that ask: /livez and /readyz for this process, /mailz for mail."""

from typing import Any

from django.db import DatabaseError, connection
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
    """Whether this process can serve: 200, or 503 where the database does not answer or lacks migrations.

    Whether mail works makes no difference: names are accepted and kept all the same.
    """
    return _without_database(request, "not ready") or JsonResponse({"status": "ready", "database": "ok"})


@require_safe
@never_cache
def mailz(request: HttpRequest) -> JsonResponse:
    """Whether mail works: 200, or 503 for an overdue message or event, delivery interrupted or on hold, no database.

    Everyone may see the relay's state and the id of its diagnosis; its replies, what an operator typed, and since when
    are for those who may read /metrics.
    """
    if answer := _without_database(request, "failing"):
        return answer
    try:
        status = Status()
        facts, trusted = status.health(), metrics.may_see_relay(request)
        reasons = _shortcomings(status, facts)
        warnings = status.disagreements if trusted else []
    except DatabaseError as error:
        return _unanswered(request, "failing", error)
    shown: dict[str, Any] = {"status": "failing" if reasons else "ok", "database": "ok"}
    if trusted:
        shown.update({"reasons": reasons, "warnings": warnings, **facts})
    else:
        shown.update(relay={name: facts["relay"][name] for name in ("state", "diagnosis")})
    return JsonResponse(shown, status=503 if reasons else 200)


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
        found.append(_("The mail server has been %(state)s since %(since)s: %(reason)s") % said)
    return found


def _without_database(request: HttpRequest, state: str) -> JsonResponse | None:
    """The answer where the database does not answer or lacks migrations, else None."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        missing = machines.unapplied_migrations()
    except DatabaseError as error:
        return _unanswered(request, state, error)
    if not missing:
        return None
    reason = _("Migrations are not applied: %s. Run manage.py migrate.") % ", ".join(missing)
    return _short(request, state, reason, database="behind")


def _unanswered(request: HttpRequest, state: str, error: DatabaseError) -> JsonResponse:
    return _short(request, state, _("The database does not answer: %s") % type(error).__name__, database="unreachable")


def _short(request: HttpRequest, state: str, reason: str, **facts: Any) -> JsonResponse:
    """503 where no session can be read: the reason is for the token alone."""
    known = {"reasons": [reason]} if metrics.has_token(request) else {}
    return JsonResponse({"status": state, **known, **facts}, status=503)
