"""Middleware of the site: what requests may contain, which policies responses carry, and stale connections."""

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
    """Decode forms as UTF-8, as our pages are. A charset named by the request (hex, zlib …) could cause a 500."""

    def middleware(request: HttpRequest) -> HttpResponse:
        request.encoding = "utf-8"
        return get_response(request)

    return middleware


def drop_control_characters(get_response: Handler) -> Handler:
    r"""Drop cookies with control characters, and answer 404 for a path with NUL: PostgreSQL refuses NUL, a 500.

    Django reads `\000` in a quoted cookie as NUL. No cookie of ours contains a control character.
    """

    def middleware(request: HttpRequest) -> HttpResponse:
        if "\0" in request.path_info:
            return not_found(request, Http404())
        for name in [name for name, value in request.COOKIES.items() if _CONTROL.search(name + value)]:
            del request.COOKIES[name]
        return get_response(request)

    return middleware


def refuse_large_bodies(get_response: Handler) -> Handler:
    """Refuse, unread, a body whose Content-Length is too large or not a number. Without one there is no body."""

    def middleware(request: HttpRequest) -> HttpResponse:
        length = request.META.get("CONTENT_LENGTH") or "0"
        if not re.fullmatch("[0-9]{1,100}", length):  # RFC 9110 8.6; str.isdigit() accepts ²
            return bad_request(request, BadRequest("Content-Length is not a number"))
        if int(length) > settings.MAX_BODY_BYTES:
            return too_large(request)
        return get_response(request)

    return middleware


def set_policies(get_response: Handler) -> Handler:
    """Set Content-Security-Policy and Permissions-Policy, unless a view has set its own.

    Django 6.0 has a middleware for the former; this one also works on 5.2. Django's own debug pages have inline
    styles, so they get no Content-Security-Policy, as in Django's.
    """

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        if not (settings.DEBUG and response.status_code in (400, 404, 500)):
            response.headers.setdefault("Content-Security-Policy", settings.CONTENT_SECURITY_POLICY)
        response.headers.setdefault("Permissions-Policy", settings.PERMISSIONS_POLICY)
        return response

    return middleware


def close_read_only_connections(get_response: Handler) -> Handler:
    """Close a connection whose PostgreSQL no longer accepts writes: after a fail-over it leads to the old primary.

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
