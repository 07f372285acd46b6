"""The site's addresses, and a view that is broken."""

from typing import NoReturn

from django.http import HttpRequest
from django.urls import path

from flasky import urls


def broken(request: HttpRequest) -> NoReturn:
    raise LookupError(f"no row {request.GET['number']}")


urlpatterns = [path("broken/", broken), *urls.urlpatterns]
