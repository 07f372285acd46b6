"""Users of the operator's desk, and messages for it."""

from typing import Any

from django.contrib.auth.models import Permission, User
from django.core.mail import EmailMultiAlternatives
from django.test import Client

from notify.models import Body, Message

VIEW = ("view_message", "view_event", "view_visitor")
OPERATE = (*VIEW, "operate_outbox")


def login(*permissions: str, email: str = "boss@example.com") -> Client:
    """A client of somebody on the staff who has these permissions of notify, and no others."""
    user = User.objects.create_user(f"user{User.objects.count()}", email, is_staff=True)
    user.user_permissions.set(
        Permission.objects.filter(content_type__app_label__in=["notify", "visitors"], codename__in=permissions)
    )
    client = Client()
    client.force_login(user)
    return client


def store(text: str = "Text of the mail", html: str | None = "<p>HTML of the mail</p>", **columns: Any) -> Message:
    """A message as Django's code would send it, and then some columns set."""
    headers = columns.pop("headers", {})
    subject = columns.pop("said", "Hello")
    mail = EmailMultiAlternatives(subject, text, "me@example.com", ["ann@example.com"], headers=headers)
    if html is not None:
        mail.attach_alternative(html, "text/html")
    mail.send()
    row = Message.objects.latest("id")
    if "mime" in columns:
        Body.objects.filter(pk=row.body_id).update(mime=columns.pop("mime"))
    Message.objects.filter(pk=row.pk).update(**columns)
    row.refresh_from_db()
    return row
