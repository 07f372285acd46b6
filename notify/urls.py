"""Addresses of health and metrics."""

from django.urls import path

from notify.operations import health, metrics

urlpatterns = [
    path("livez", health.livez, name="livez"),
    path("readyz", health.readyz, name="readyz"),
    path("mailz", health.mailz, name="mailz"),
    path("metrics", metrics.metrics, name="metrics"),
]
