"""What every request goes through first, and every answer last."""

import re
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.exceptions import BadRequest
from django.db import InternalError, connection
from django.http import Http404, HttpRequest, HttpResponse

from flasky.views import bad_request, not_found, too_large

Handler = Callable[[HttpRequest], HttpResponse]
_CONTROL = re.compile("[\x00-\x1f\x7f]")
READ_ONLY = "25006"  # SQLSTATE read_only_sql_transaction


def read_forms_as_utf8(get_response: Handler) -> Handler:
    """Our pages are UTF-8, so forms are: a charset that a request names (hex, zlib …) would be a 500, not a form."""

    def middleware(request: HttpRequest) -> HttpResponse:
        request.encoding = "utf-8"
        return get_response(request)

    return middleware


def pass_over_control_characters(get_response: Handler) -> Handler:
    r"""No cookie holds a control character, no path NUL: PostgreSQL refuses NUL, and that is a 500.

    Django reads `\000` in a cookie's quotes as NUL. What we set holds no such thing, so it is somebody else's.
    """

    def middleware(request: HttpRequest) -> HttpResponse:
        if "\0" in request.path_info:
            return not_found(request, Http404())
        for name in [name for name, value in request.COOKIES.items() if _CONTROL.search(name + value)]:
            del request.COOKIES[name]
        return get_response(request)

    return middleware


def refuse_large_bodies(get_response: Handler) -> Handler:
    """No body is read that says it is larger than anything here takes, or says nonsense. Without a word it is empty."""

    def middleware(request: HttpRequest) -> HttpResponse:
        length = request.META.get("CONTENT_LENGTH") or "0"
        if not re.fullmatch("[0-9]{1,100}", length):  # RFC 9110 8.6; str.isdigit() takes ² for one
            return bad_request(request, BadRequest("Content-Length is not a number"))
        if int(length) > settings.MAX_BODY_BYTES:
            return too_large(request)
        return get_response(request)

    return middleware


def say_what_pages_may_load(get_response: Handler) -> Handler:
    """Content-Security-Policy and Permissions-Policy, except where a view has set its own.

    Django 6.0 brings a middleware for the former; this one is the same on 5.2. Django's own debug pages style
    themselves inline, so they go without, as there.
    """

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        if not (settings.DEBUG and response.status_code in (400, 404, 500)):
            response.headers.setdefault("Content-Security-Policy", settings.CONTENT_SECURITY_POLICY)
        response.headers.setdefault("Permissions-Policy", settings.PERMISSIONS_POLICY)
        return response

    return middleware


def leave_read_only_databases(get_response: Handler) -> Handler:
    """Close a connection whose PostgreSQL takes no writes any more: after a fail-over it leads to the old primary.

    With several hosts in DATABASE_URL and `target_session_attrs=read-write` the next request finds the new one.
    """

    def notice(execute: Any, sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        try:
            return execute(sql, params, many, context)
        except InternalError as error:
            if getattr(error.__cause__, "sqlstate", "") == READ_ONLY:
                context["connection"].close_at = 0  # obsolete: Django closes it as the request ends
            raise

    def middleware(request: HttpRequest) -> HttpResponse:
        with connection.execute_wrapper(notice):
            return get_response(request)

    return middleware
