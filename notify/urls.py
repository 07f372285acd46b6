"""Addresses of the page and of health."""

from django.urls import path

from notify import health, views

urlpatterns = [
    path("", views.index, name="index"),
    path("livez", health.livez, name="livez"),
    path("readyz", health.readyz, name="readyz"),
]
