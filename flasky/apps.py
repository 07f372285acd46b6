"""The site as a Django app: it has checks, a command and the inbox's files, and no tables; and the admin, as its own."""

from importlib import import_module

from django.apps import AppConfig
from django.contrib.admin import apps


class SiteConfig(AppConfig):
    name = "flasky"
    default = True

    def ready(self) -> None:
        import_module("flasky.checks")


class Admin(apps.AdminConfig):
    """Django's admin with the site's AdminSite."""

    default_site = "flasky.site.Site"
    default = False  # named in INSTALLED_APPS; Django is not to take it for the app `flasky`
