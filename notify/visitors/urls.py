"""The address of the page."""

from django.urls import path

from notify.visitors import views

urlpatterns = [path("", views.index, name="index")]
