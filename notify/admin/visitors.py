"""Visitors: to search and to add."""

from django.contrib import admin

from notify.models import Visitor


@admin.register(Visitor)
class VisitorAdmin(admin.ModelAdmin):
    list_display = ["name", "created_at"]
    search_fields = ["name"]
    readonly_fields = ["created_at"]
    date_hierarchy = "created_at"
