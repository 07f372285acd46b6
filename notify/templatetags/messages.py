"""A message's badges, in templates as in lists."""

from django import template

from notify.admin.badges import state_badge, uncertain_badge

register = template.Library()
register.filter("state_badge", state_badge)
register.filter("uncertain_badge", uncertain_badge)
