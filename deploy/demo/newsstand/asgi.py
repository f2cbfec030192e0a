"""The demo site for an ASGI server: ``newsstand.asgi:application``."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "newsstand.settings")
application = get_asgi_application()
