"""The site as a Django app: checks, a command, the inbox's files and its own admin, and no tables."""

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
