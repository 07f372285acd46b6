"""For the admin's templates: the panel that says whether mail works, badges, and times as people say them."""

from datetime import datetime, timedelta
from typing import Any

from django import template
from django.apps import apps
from django.utils import timezone
from django.utils.timesince import timesince, timeuntil
from django.utils.translation import gettext as _

register = template.Library()
if apps.is_installed("django.contrib.admin"):  # without it no page uses these, but `check` imports them
    from notify.admin import dashboard
    from notify.admin.rows import state_badge, uncertain_badge

    register.filter("state_badge", state_badge)
    register.filter("uncertain_badge", uncertain_badge)
MINUTE = timedelta(minutes=1)


@register.inclusion_tag("admin/notify/relay/panel.html", takes_context=True)
def relay_panel(context: template.RequestContext) -> dict[str, Any]:
    """Whether mail works, for any page of the admin; nothing for those who may not see the relay."""
    request = context["request"]
    return {"request": request, "csrf_token": context.get("csrf_token"), **dashboard.panel(request)}


@register.filter
def ago(moment: datetime) -> str:
    """`4 minutes ago`; the larger unit alone."""
    if timezone.now() - moment < MINUTE:
        return _("just now")
    return _("%(time)s ago") % {"time": timesince(moment, depth=1)}


@register.filter
def away(moment: datetime) -> str:
    """`in 4 minutes`; the larger unit alone."""
    left = moment - timezone.now()
    if left <= timedelta(0):
        return _("at any moment")
    return _("within a minute") if left < MINUTE else _("in %(time)s") % {"time": timeuntil(moment, depth=1)}
