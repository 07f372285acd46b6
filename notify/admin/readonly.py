"""Pages of rows that are to be read and never written."""

from django.db.models import Model
from django.http import HttpRequest

from notify.admin.lookups import RestrictedLookups


class WrittenByMachine(RestrictedLookups):
    """Rows nobody may add, change or remove by hand: they are what happened."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False
