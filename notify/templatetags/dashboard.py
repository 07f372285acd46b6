"""Tags for the admin's templates: the panel that says whether mail works, badges, and relative times."""

from typing import Any

from django import template
from django.apps import apps

from notify import conf

register = template.Library()
if apps.is_installed("django.contrib.admin"):  # without it nothing uses these, but Django still imports this module
    from notify.admin import audit, dashboard, rows

    register.filter("state_badge", rows.state_badge)
    register.filter("uncertain_badge", rows.uncertain_badge)
    register.filter("when", rows.when)
    register.filter("audit_words", audit.words)


@register.inclusion_tag("admin/notify/relay/panel.html", takes_context=True)
def relay_panel(context: template.RequestContext) -> dict[str, Any]:
    """The panel that says whether mail works; empty without the permission to view it."""
    request = context["request"]
    return {"request": request, "csrf_token": context.get("csrf_token"), **dashboard.panel(request)}


@register.inclusion_tag("admin/notify/address.html", takes_context=True)
def address_field(context: template.RequestContext, id: str) -> dict[str, str]:
    """The field `to` of a test: holds the user's own address and suggests the administrators'."""
    own = ", ".join(rows.own_addresses(context["request"]))
    return {"id": id, "own": own, "admins": ", ".join(conf.admins()), "setting": conf.named("FLASKY_ADMIN")}
