"""Settings of the demo site, from the environment.

``FOOTFALL_DEMO_DIR``    where it keeps its database, spool, logs and secret key; default ``.demo`` in the repository
``FOOTFALL_DEMO_STACK``  "1": RabbitMQ (``FOOTFALL_AMQP_URL``, and to ship ``FOOTFALL_AMQP_WEB_URL`` where it is set)
                         and PostgreSQL (``PGHOST``, ``PGPORT``, ``PGUSER``,
                         ``PGPASSWORD``, ``PGDATABASE``) instead of the embedded transport on SQLite
``FOOTFALL_SHIPPER``     with the stack: "thread" (default) or "daemon"
"""

import os
from pathlib import Path
from typing import Any

from newsstand.state import make_state_dir, secret_key_in

BASE_DIR = Path(__file__).resolve().parent.parent
STATE_DIR = make_state_dir(Path(os.environ.get("FOOTFALL_DEMO_DIR") or BASE_DIR.parent.parent / ".demo").resolve())
ON_STACK = os.environ.get("FOOTFALL_DEMO_STACK") == "1"

SECRET_KEY = secret_key_in(STATE_DIR)
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "[::1]"]
ROOT_URLCONF = "newsstand.urls"
WSGI_APPLICATION = "newsstand.wsgi.application"
ASGI_APPLICATION = "newsstand.asgi.application"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_dramatiq",
    "reversion",
    "footfall.producers",
    "footfall.storage",
    "footfall.workers",
    "footfall.spiders",
    "articles",
]
MIDDLEWARE = [
    "footfall.producers.middleware.ScopeMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "newsstand.csp.content_security_policy",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "articles.context_processors.readable_articles",
            ]
        },
    }
]

USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
STATIC_URL = "/static/"
LOGIN_URL = "sign-in"
LOGIN_REDIRECT_URL = "front"
LOGOUT_REDIRECT_URL = "front"
# Sessions in cookies, so that reading a page writes nothing to the database.
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
MESSAGE_STORAGE = "django.contrib.messages.storage.cookie.CookieStorage"
# Hundreds of visitors sign in within seconds, with passwords that are thrown away with the state directory.
PASSWORD_HASHERS = ["newsstand.hashers.QuickHasher"]

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    "loggers": {"footfall": {"level": "INFO"}},
}

DATABASES: dict[str, dict[str, Any]]
DRAMATIQ_BROKER: dict[str, Any]
FOOTFALL: dict[str, Any] = {
    "SPOOL_DIR": STATE_DIR / "spool",
    # All visitors come from one address, and click as fast as a machine.
    "TRACK_LABELS_PER_MINUTE": 1_000_000,
}

if ON_STACK:
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": os.environ.get("PGDATABASE", "footfall"),
            "USER": os.environ.get("PGUSER", "footfall"),
            "PASSWORD": os.environ.get("PGPASSWORD", ""),
            "HOST": os.environ.get("PGHOST", "127.0.0.1"),
            "PORT": os.environ.get("PGPORT", "5432"),
            "CONN_MAX_AGE": 60,
            "CONN_HEALTH_CHECKS": True,
        }
    }
    _AMQP_URL = os.environ["FOOTFALL_AMQP_URL"]
    FOOTFALL |= {
        "TRANSPORT": "rabbitmq",
        "SHIPPER": os.environ.get("FOOTFALL_SHIPPER", "thread"),
        # Shipping needs fewer rights than working.
        "BROKER_URL": os.environ.get("FOOTFALL_AMQP_WEB_URL") or _AMQP_URL,
    }
    DRAMATIQ_BROKER = {
        "BROKER": "footfall.workers.broker.FootfallBroker",
        "OPTIONS": {"url": _AMQP_URL},
        "MIDDLEWARE": ["django_dramatiq.middleware.DbConnectionsMiddleware"],
    }
else:
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": STATE_DIR / "newsstand.sqlite3",
            "OPTIONS": {
                "transaction_mode": "IMMEDIATE",
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
                "timeout": 20,
            },
            "CONN_MAX_AGE": None,
        }
    }
    FOOTFALL |= {"TRANSPORT": "embedded"}
    DRAMATIQ_BROKER = {"BROKER": "footfall.workers.embedded.EmbeddedBroker", "OPTIONS": {}, "MIDDLEWARE": []}
