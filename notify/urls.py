"""Addresses of the page, of health, and of metrics."""

from django.urls import path

from notify import health, metrics, views

urlpatterns = [
    path("", views.index, name="index"),
    path("livez", health.livez, name="livez"),
    path("readyz", health.readyz, name="readyz"),
    path("metrics", metrics.metrics, name="metrics"),
]
