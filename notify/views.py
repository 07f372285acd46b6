"""The page: asks for a name, keeps it, greets. Knows nothing of mail."""

import logging

from django.db import DatabaseError, transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from notify.forms import NameForm
from notify.models import Visitor

logger = logging.getLogger(__name__)


@require_http_methods(["GET", "HEAD", "POST"])
def index(request: HttpRequest) -> HttpResponse:
    form = NameForm(request.POST if request.method == "POST" else None)
    try:
        if form.is_valid():
            _keep(request, form.cleaned_data["name"])
            return redirect("index")
        greeting = {"name": request.session.get("name"), "known": request.session.get("known", False)}
    except DatabaseError:
        logger.exception("the page could not do without the database")
        if not form.is_bound:
            return render(request, "503.html", status=503)
        if form.is_valid():
            form.add_error(None, _("Your name could not be kept just now. Please try again in a moment."))
        return render(request, "notify/index.html", {"form": form}, status=503)
    return render(request, "notify/index.html", {"form": form, **greeting}, status=422 if form.errors else 200)


@transaction.atomic
def _keep(request: HttpRequest, name: str) -> None:
    """The visitor and the greeting that the next page shows, both or neither. Raises DatabaseError."""
    visitor, new = Visitor.objects.get_or_create(name=name)
    request.session["name"], request.session["known"] = visitor.name, not new
    request.session.save()


# The handlers of 400, 404 and 500. Django's own read the body for a CSRF token, and fail where it cannot be read.


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _error(400)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _error(404)


def server_error(request: HttpRequest) -> HttpResponse:
    return _error(500)


def _error(status: int) -> HttpResponse:
    return HttpResponse(render_to_string(f"{status}.html"), status=status)
