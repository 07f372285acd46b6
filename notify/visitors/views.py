"""The page: asks for a name, saves it, greets. Knows nothing of mail."""

import logging
import random
import time
from collections.abc import Callable
from typing import Any, TypeVar

from django.conf import settings
from django.core import signing
from django.db import DatabaseError, InterfaceError, OperationalError, connection
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_http_methods

from notify.visitors import rate_limit
from notify.visitors.forms import NameForm
from notify.visitors.models import Visitor

logger = logging.getLogger(__name__)

T = TypeVar("T")
REFUSED = ("40001", "40P01")  # serialization_failure, deadlock_detected: PostgreSQL expects a retry
TRIES = 20
GREETING = "greeting"  # the cookie that says whom to greet: signed, so that the server stores nothing


@require_http_methods(["GET", "HEAD", "POST"])
@cache_control(private=True, no_cache=True)  # it contains a token, a timestamp, perhaps a name
def index(request: HttpRequest) -> HttpResponse:
    """Save the name and redirect to the greeting; or show the form again, filled in, with what to do."""
    if request.method != "POST":
        return _page(request, NameForm())
    form = NameForm(request.POST)
    try:
        if seconds := _again(lambda: rate_limit.wait(request)):
            return _too_many(request, form, seconds)
        if form.is_valid():
            visitor, new = _again(lambda: Visitor.objects.get_or_create(name=form.cleaned_data["name"]))
            return _greeted(visitor.name, known=not new)
    except (DatabaseError, InterfaceError):
        logger.exception("a name could not be kept")
        if form.is_valid():
            form.add_error(None, _("Your name could not be saved. Please try again in a moment."))
            return _page(request, form, status=503)
    return _page(request, form, status=422)


def _again(write: Callable[[], T]) -> T:
    """What `write` returns, retried: above READ COMMITTED, PostgreSQL refuses one of two concurrent writers."""
    for number in range(1, TRIES):
        try:
            return write()
        except OperationalError as error:
            if getattr(error.__cause__, "sqlstate", "") not in REFUSED or connection.in_atomic_block:
                raise
            time.sleep(random.uniform(0, 0.02 * number))
    return write()


def _too_many(request: HttpRequest, form: NameForm, seconds: int) -> HttpResponse:
    form.errors.clear()
    words = ngettext(
        "Many names came from your address within a minute. Please wait %(seconds)d second, then send yours again.",
        "Many names came from your address within a minute. Please wait %(seconds)d seconds, then send yours again.",
        seconds,
    )
    form.add_error(None, words % {"seconds": seconds})
    response = _page(request, form, status=429)
    response["Retry-After"] = str(seconds)
    return response


def _page(request: HttpRequest, form: NameForm, *, status: int = 200) -> HttpResponse:
    try:
        greeting: dict[str, Any] = signing.loads(request.COOKIES.get(GREETING, ""), salt=GREETING)
    except signing.BadSignature:  # no cookie, or one that is not ours
        greeting = {}
    return render(request, "visitors/index.html", {"form": form, **greeting}, status=status)


def _greeted(name: str, *, known: bool) -> HttpResponse:
    """Redirect to the page, which greets the visitor by this name until the browser is closed."""
    response = redirect("index")
    value = signing.dumps({"name": name, "known": known}, salt=GREETING)
    response.set_cookie(GREETING, value, httponly=True, samesite="Lax", secure=settings.SESSION_COOKIE_SECURE)
    return response
