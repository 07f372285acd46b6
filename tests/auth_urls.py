"""The site's addresses and those of django.contrib.auth, where a project of somebody else has them."""

from django.urls import include, path

from flasky import urls

urlpatterns = [path("people/", include("django.contrib.auth.urls")), *urls.urlpatterns]
