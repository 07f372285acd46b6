"""The site as a Django app: it has checks, a command and the inbox's files, and no tables."""

from importlib import import_module

from django.apps import AppConfig


class SiteConfig(AppConfig):
    name = "flasky"

    def ready(self) -> None:
        import_module("flasky.checks")
