"""Addresses of the site."""

from django.contrib import admin
from django.templatetags.static import static
from django.urls import include, path, re_path
from django.views.generic import RedirectView

from flasky import inbox
from flasky.views import login

urlpatterns = [
    path("admin/login/", login),
    path("admin/notify/previews/", RedirectView.as_view(pattern_name="admin:notify_message_previews")),
    # Where mails of earlier versions link to.
    re_path(
        r"^admin/notify/visitor/(?P<rest>.*)$",
        RedirectView.as_view(url="/admin/visitors/visitor/%(rest)s", query_string=True),
    ),
    path("admin/", admin.site.urls),
    # What browsers ask for on pages that name no icon: the admin's.
    path("favicon.ico", RedirectView.as_view(url=static("flasky/icon.svg"))),
    path("inbox/", inbox.index, name="inbox"),
    re_path(rf"^inbox/(?P<name>{inbox.NAME})/$", inbox.mail, name="inbox_mail"),
    re_path(rf"^inbox/(?P<name>{inbox.NAME})/html/$", inbox.html, name="inbox_html"),
    re_path(rf"^inbox/(?P<name>{inbox.NAME})/source/$", inbox.raw, name="inbox_source"),
    re_path(rf"^inbox/(?P<name>{inbox.NAME})/download/$", inbox.download, name="inbox_download"),
    path("", include("notify.visitors.urls")),
    path("", include("notify.urls")),
]

handler400 = "flasky.views.bad_request"
handler404 = "flasky.views.not_found"
handler500 = "flasky.views.server_error"
