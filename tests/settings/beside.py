"""RabbitMQ and PostgreSQL, and django-activity-stream installed beside Footfall: for the benchmark of both."""

from settings.stack import *  # noqa: F403 - a settings module takes over all of its base
from settings.stack import DATABASES, INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "actstream"]
DATABASES = {"default": {**DATABASES["default"], "TEST": {"NAME": "test_footfall_beside"}}}
