"""Run in a project by `manage.py shell`: somebody signs up, confirms the address, and sets a new password."""

import re
import secrets
from email import message_from_bytes, policy

from django.contrib.auth.models import User
from django.test import Client

from notify.models import Message


def link_in(message):
    assert message.sensitive, "who may view messages must not read this link"
    mail = message_from_bytes(bytes(message.body.mime), policy=policy.default)
    [link] = re.findall(r"http://testserver(\S+)", mail.get_body(("plain",)).get_content())
    return link


name = f"ann{secrets.token_hex(4)}"
address = f"{name}@example.com"
browser = Client()
password = "a-Long-passphrase-1"
form = {"email": address, "username": name, "password1": password, "password2": password}
answer = browser.post("/accounts/signup/", form)
assert answer.status_code == 302, answer.content.decode()
assert browser.post(link_in(Message.objects.latest("pk"))).status_code == 302
assert User.objects.get(username=name).emailaddress_set.get().verified

visitor = Client()
assert visitor.post("/accounts/password/reset/", {"email": address}).status_code == 302
page = visitor.get(link_in(Message.objects.latest("pk")), follow=True)
new = "another-Long-passphrase-2"
assert visitor.post(page.request["PATH_INFO"], {"password1": new, "password2": new}).status_code == 302
assert Client().login(username=name, password=new)
print("signed up, confirmed, signed in with the new password")
