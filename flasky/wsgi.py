"""The entry point for WSGI servers (gunicorn, runserver)."""

from django.core.wsgi import get_wsgi_application

from flasky import content_type, start

start.read_settings()
application = content_type.wsgi(get_wsgi_application())
