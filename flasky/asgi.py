"""The entry point for ASGI servers."""

from django.core.asgi import get_asgi_application

from flasky import content_type, start

start.read_settings()
application = content_type.asgi(get_asgi_application())
