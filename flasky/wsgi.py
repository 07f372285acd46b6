"""The door for WSGI servers (gunicorn, runserver). A process that comes in here also delivers: see notify.dispatch."""

import os

from django.core.wsgi import get_wsgi_application

from flasky import content_type

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "flasky.settings")
application = content_type.wsgi(get_wsgi_application())

from notify import dispatch  # noqa: E402  (needs the apps, which the line above loads)

dispatch.serve()
