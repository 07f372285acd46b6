"""Django settings for the peers, in their defaults; `python -m benchmarks.peers PEER COUNT` queues mails in them."""

import os
import sys

import environ

SECRET_KEY = "only-for-the-benchmark"
DATABASES = {"default": environ.Env.db_url_config(os.environ["DATABASE_URL"])}
DATABASES["default"].setdefault("OPTIONS", {})
if "sqlite" in DATABASES["default"]["ENGINE"]:
    # What our own settings give SQLite: the comparison is about the mail, not about the journal.
    DATABASES["default"]["OPTIONS"] = {
        "timeout": 20,
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    }
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["django.contrib.contenttypes", "post_office", "mailer"]
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
USE_TZ = True
EMAIL_BACKEND = "post_office.EmailBackend"
EMAIL_HOST, EMAIL_PORT = "127.0.0.1", int(os.environ.get("MAIL_PORT", "25"))
MAILER_USE_FILE_LOCK = False

if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.peers"
    import django

    django.setup()
    peer, count = sys.argv[1], int(sys.argv[2])
    text = ("x" * 70 + "\n") * 14
    html = f"<pre>{text}</pre>"  # 2 KB in all, text and HTML, as our own mails are
    if peer == "post_office":
        from post_office import mail
        from post_office.models import Email

        for number in range(count):
            mail.send("you@example.com", "me@example.com", subject=f"Mail {number}", message=text, html_message=html)
        assert Email.objects.count() == count
    else:
        from mailer import send_html_mail

        for number in range(count):
            send_html_mail(f"Mail {number}", text, html, "me@example.com", ["you@example.com"])
