"""For the admin's templates: the panel that says whether mail works, badges, and times as people say them."""

from typing import Any

from django import template
from django.apps import apps

register = template.Library()
if apps.is_installed("django.contrib.admin"):  # without it no page uses these, but `check` imports them
    from notify.admin import audit, dashboard
    from notify.admin.rows import state_badge, uncertain_badge, when

    register.filter("state_badge", state_badge)
    register.filter("uncertain_badge", uncertain_badge)
    register.filter("when", when)
    register.filter("audit_words", audit.words)


@register.inclusion_tag("admin/notify/relay/panel.html", takes_context=True)
def relay_panel(context: template.RequestContext) -> dict[str, Any]:
    """Whether mail works, for any page of the admin; nothing for those who may not see the relay."""
    request = context["request"]
    return {"request": request, "csrf_token": context.get("csrf_token"), **dashboard.panel(request)}
