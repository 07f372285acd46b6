"""The door for WSGI servers (gunicorn, runserver)."""

import os

from django.core.wsgi import get_wsgi_application

from flasky import content_type

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "flasky.settings")
application = content_type.wsgi(get_wsgi_application())
