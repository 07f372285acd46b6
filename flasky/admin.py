"""Django's own pages of users and groups, filtered as strictly as ours."""

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User

from notify.admin.rows import RestrictedLookups

admin.site.unregister([User, Group])


@admin.register(User)
class Users(RestrictedLookups, UserAdmin):  # type: ignore[type-arg]  # generic for the type checker only
    # Django's own widgets for these have no label for screen readers.
    readonly_fields = ["last_login", "date_joined"]
    filter_horizontal = ()
    lookups = {
        "is_staff__exact": "[01]",
        "is_superuser__exact": "[01]",
        "is_active__exact": "[01]",
        "groups__id__exact": r"[0-9]{1,10}",
        "groups__isnull": "True",
    }


@admin.register(Group)
class Groups(RestrictedLookups, GroupAdmin):
    filter_horizontal = ()
