"""The site's own views: the admin's login, with a limit of failed attempts, and the error pages."""

import sys

from django.contrib import admin
from django.core.exceptions import RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.views.decorators.cache import never_cache

from notify.visitors import rate_limit


@never_cache
def login(request: HttpRequest) -> HttpResponse:
    """The admin's login. Each client address may fail NOTIFY_RATE_LIMIT times a minute."""
    if request.method != "POST":
        return admin.site.login(request)
    # Counted before the password is checked, so that concurrent attempts cannot exceed the limit.
    if seconds := rate_limit.wait(request, kind="login"):
        response = _error(429)
        response["Retry-After"] = str(seconds)
        return response
    response = admin.site.login(request)
    if response.status_code == 302:
        rate_limit.take_back(request, kind="login")
    return response


# Error pages. Django's own read the request's body for a CSRF token, and fail if it cannot be read.


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _error(413 if isinstance(exception, RequestDataTooBig) else 400)


def too_large(request: HttpRequest) -> HttpResponse:
    return _error(413)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _error(404)


def server_error(request: HttpRequest) -> HttpResponse:
    """500, or 503 if the database is unavailable."""
    return _error(503 if isinstance(sys.exc_info()[1], InterfaceError | OperationalError) else 500)


def _error(status: int) -> HttpResponse:
    return HttpResponse(render_to_string(f"{status}.html"), status=status)
