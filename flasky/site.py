"""The admin of this site: its name, and the dashboard above everything else."""

from typing import Any

from django.contrib.admin import AdminSite
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _


class Site(AdminSite):
    site_title = "Flasky"
    site_header = "Flasky"
    index_title = _("Dashboard")

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        """Notification first, and in it the dashboard; the rest by name, as Django has it."""
        apps: list[Any] = super().get_app_list(request, app_label)
        for app in apps:
            for model in app["models"]:
                if model["object_name"] == "Relay":
                    model["name"] = gettext("Dashboard")
            app["models"].sort(key=lambda model: model["object_name"] != "Relay")
        return sorted(apps, key=lambda app: app["app_label"] != "notify")
