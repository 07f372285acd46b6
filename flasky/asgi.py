"""The door for ASGI servers."""

import os

from django.core.asgi import get_asgi_application

from flasky import content_type

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "flasky.settings")
application = content_type.asgi(get_asgi_application())
