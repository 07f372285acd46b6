"""A message's state as a badge, in templates as in lists."""

from django import template

from notify.admin.badges import state_badge

register = template.Library()
register.filter("badge", state_badge)
