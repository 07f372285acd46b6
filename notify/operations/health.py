"""Health checks over HTTP: /livez and /readyz for this process, /mailz for mail."""

import threading
from collections.abc import Callable
from typing import Any

from django.db import DatabaseError, InterfaceError, connection
from django.http import HttpRequest, JsonResponse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from notify import conf
from notify.models import Relay
from notify.operations import machines, metrics
from notify.operations.status import Status

_is_migrated = threading.Event()  # set once the schema is as new as the code; then it is not checked again


@require_safe
@never_cache
def livez(request: HttpRequest) -> JsonResponse:
    """200 if this process answers at all."""
    return JsonResponse({"status": "ok"})


@require_safe
@never_cache
def readyz(request: HttpRequest) -> JsonResponse:
    """Whether this process can serve: 200, or 503 where the database does not answer or lacks migrations.

    Whether mail works makes no difference: names are accepted and kept all the same.
    """
    return _with_database(request, "not ready", lambda: JsonResponse({"status": "ready", "database": "ok"}))


@require_safe
@never_cache
def mailz(request: HttpRequest) -> JsonResponse:
    """Whether mail works: 200, or 503 for an overdue message or event, delivery interrupted or on hold, no database.

    Everyone may see the relay's state and the id of its diagnosis; its replies, what an operator typed, and since when
    are for those who may read /metrics.
    """
    return _with_database(request, "failing", lambda: _mail(request))


def _with_database(request: HttpRequest, failing: str, answer: Callable[[], JsonResponse]) -> JsonResponse:
    """The answer; 503 and the status `failing` where the database does not answer or lacks migrations."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        missing = [] if _is_migrated.is_set() else machines.unapplied_migrations()
        if not missing:
            _is_migrated.set()
            return answer()
        state, reason = "behind", _("Migrations are not applied: %s. Run manage.py migrate.") % ", ".join(missing)
    except (DatabaseError, InterfaceError) as error:
        state, reason = "unreachable", _("The database does not answer: %s") % type(error).__name__
    # No session can be read: the reason is for the token alone.
    known = {"reasons": [reason]} if metrics.has_token(request) else {}
    return JsonResponse({"status": failing, **known, "database": state}, status=503)


def _mail(request: HttpRequest) -> JsonResponse:
    status = Status()
    facts, reasons = status.health(), []
    is_paused = status.relay.state == Relay.State.PAUSED
    if status.is_behind and not is_paused:
        ages = {"age": facts["oldest_due_seconds"], "limit": conf.NOTIFY_READY_SECONDS}
        reasons.append(_("A message has been due for %(age)d s (limit %(limit)d s): is a worker running?") % ages)
    if status.relay.in_trouble or (status.is_behind and is_paused):
        said = {**facts["relay"], "state": status.relay.get_state_display()}
        reasons.append(_("The mail server has been %(state)s since %(since)s: %(reason)s") % said)
    shown: dict[str, Any] = {"status": "failing" if reasons else "ok", "database": "ok"}
    if metrics.may_see_relay(request):
        shown.update(reasons=reasons, warnings=status.disagreements, **facts)
    else:
        shown.update(relay={name: facts["relay"][name] for name in ("state", "diagnosis")})
    return JsonResponse(shown, status=503 if reasons else 200)
