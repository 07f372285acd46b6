"""Addresses of the site."""

from django.contrib import admin
from django.templatetags.static import static
from django.urls import include, path
from django.views.generic import RedirectView

import flasky.admin  # noqa: F401  (registers its pages; flasky is no app, so Django does not look for them)
from notify.views import login

urlpatterns = [
    path("admin/login/", login),
    path("admin/notify/previews/", RedirectView.as_view(pattern_name="admin:notify_message_previews")),
    path("admin/", admin.site.urls),
    # What browsers ask for on pages that name no icon: the admin's.
    path("favicon.ico", RedirectView.as_view(url=static("notify/icon.svg"))),
    path("", include("notify.urls")),
]

handler400 = "notify.views.bad_request"
handler404 = "notify.views.not_found"
handler500 = "notify.views.server_error"
