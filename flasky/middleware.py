"""What every request goes through first."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse


def read_forms_as_utf8(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Our pages are UTF-8, so forms are: a charset that a request names (hex, zlib …) would be a 500, not a form."""

    def middleware(request: HttpRequest) -> HttpResponse:
        request.encoding = "utf-8"
        return get_response(request)

    return middleware
