"""Nineteen shapes of mail. Run in a project by `manage.py shell`: sends each through the default backend.

The X-Shape header tells which is which at the mail server.
"""

from email.message import MIMEPart
from email.mime.base import MIMEBase
from email.mime.image import MIMEImage

import django
from django.core.mail import EmailMessage, EmailMultiAlternatives

PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
TO = ["Ann <ann@example.com>"]


def picture() -> object:
    if django.VERSION >= (6, 0):
        part = MIMEPart()
        part.set_content(PICTURE, "image", "png", disposition="inline", cid="<logo@example.com>")
        return part
    old: MIMEBase = MIMEImage(PICTURE, "png")
    old.add_header("Content-ID", "<logo@example.com>")
    old.add_header("Content-Disposition", "inline")
    return old


def shapes() -> dict[str, EmailMessage]:
    made: dict[str, EmailMessage] = {}

    def shape(name: str, body: str = "Hello\n", subject: str = "Hello", **fields: object) -> EmailMultiAlternatives:
        fields = {"to": TO, "from_email": "Shop <shop@example.com>"} | fields
        headers = {"X-Shape": name, **fields.pop("headers", {})}
        made[name] = EmailMultiAlternatives(subject, body, headers=headers, **fields)
        return made[name]

    shape("plain")
    shape("unicode", "Grüße, 李小龙\n", "Grüße an 李小龙")
    shape("html").attach_alternative("<p>Hello <b>Ann</b></p>", "text/html")
    shape("html-only", "<p>Hello</p>").content_subtype = "html"
    shape("latin-1", "Grüße\n").encoding = "iso-8859-1"
    shape("foreign-name").attach("Müller 李.pdf", b"%PDF-1.4 \x00\xff", "application/pdf")
    shape("binary").attach("data.bin", bytes(range(256)) * 40, "application/octet-stream")
    shape("text-file").attach("list.csv", "a;b\r\n1;ü\r\n", "text/csv")
    inline = shape("inline")
    inline.attach_alternative('<img src="cid:logo@example.com">', "text/html")
    inline.attach(picture())
    shape("forwarded").attach(
        None, EmailMessage("Inner", "Body\n", "a@example.com", ["b@example.com"]), "message/rfc822"
    )
    shape("invitation").attach_alternative(
        "BEGIN:VCALENDAR\r\nMETHOD:REQUEST\r\nEND:VCALENDAR\r\n", "text/calendar; method=REQUEST"
    )
    shape("reply-to", reply_to=["Help <help@example.com>", "two@example.com"])
    shape("cc", cc=["Bob <bob@example.com>"])
    shape("bcc", bcc=["hidden@example.com"])
    shape("own-id", headers={"Message-ID": "<own.1@example.com>", "References": "<root@example.com>"})
    shape("names", to=["Zoë O’Brien <zoe@example.com>", '"Doe, Jane" <jane@example.com>'])
    shape("long-subject", subject="A subject that is much longer than one line of a header may be, said twice. " * 2)
    shape("dots", ".\n..two\n" + "x" * 2000 + "\nend\n")
    shape("list", to=["a@example.com", "b@example.com"], headers={"List-Unsubscribe": "<https://example.com/u/1>"})
    return made


if __name__ in ("__main__", "django.core.management.commands.shell"):
    for message in shapes().values():
        assert message.send() == 1
