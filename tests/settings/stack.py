"""RabbitMQ and PostgreSQL, where the environment says that they are."""

import os

from settings.base import *  # noqa: F403 - a settings module takes over all of its base
from settings.base import FOOTFALL

AMQP_URL = os.environ.get("FOOTFALL_AMQP_URL", "amqp://guest:guest@127.0.0.1:5672/")

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": os.environ.get("PGDATABASE", "footfall"),
        "USER": os.environ.get("PGUSER", "postgres"),
        "HOST": os.environ.get("PGHOST", "127.0.0.1"),
        "PORT": os.environ.get("PGPORT", "5432"),
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
    }
}
FOOTFALL = {
    **FOOTFALL,
    "TRANSPORT": "rabbitmq",
    "SHIPPER": os.environ.get("FOOTFALL_SHIPPER", "daemon"),
    "BROKER_URL": AMQP_URL,
}
DRAMATIQ_BROKER = {
    "BROKER": "footfall.workers.broker.FootfallBroker",
    "OPTIONS": {"url": AMQP_URL},
    "MIDDLEWARE": ["django_dramatiq.middleware.DbConnectionsMiddleware", "dramatiq.middleware.Retries"],
}
