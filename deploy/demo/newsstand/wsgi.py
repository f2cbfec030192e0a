"""The demo site for a WSGI server: ``newsstand.wsgi:application``."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "newsstand.settings")
application = get_wsgi_application()
