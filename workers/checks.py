"""System checks of what a worker and its broker need. None touches the network or a database."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote, urlsplit

from django.apps import apps
from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error
from django.core.checks import Warning as Caution
from django.db import connections, router

from footfall.producers.checks import is_dict
from footfall.producers.settings import broker_options, conf
from footfall.storage.models import AppliedMessage, DeadLetter, ViewMark

OURS = "footfall.workers.broker.FootfallBroker"
EMBEDDED = "footfall.workers.embedded.EmbeddedBroker"
LOOPBACK = ("localhost", "127.0.0.1", "::1", "")


def check_broker(**_: Any) -> list[CheckMessage]:
    """The DRAMATIQ_BROKER setting goes with the transport, and keeps confirms on."""
    broker = getattr(django_settings, "DRAMATIQ_BROKER", None)
    if not is_dict() or conf.TRANSPORT == "immediate":
        return []
    if broker is None and not apps.is_installed("django_dramatiq"):
        return []  # `dramatiq footfall.workers.app` makes its own
    if broker is None:
        text = "DRAMATIQ_BROKER is not set, and django-dramatiq's default does not work with Dramatiq 2."
        wanted = OURS if conf.TRANSPORT == "rabbitmq" else EMBEDDED
        return [Error(text, hint=f'Set it, with "BROKER": {wanted!r}.', id="footfall.workers.E001")]
    messages: list[CheckMessage] = []
    if conf.TRANSPORT == "rabbitmq" and broker.get("BROKER") == EMBEDDED:
        text = 'FOOTFALL["TRANSPORT"] is "rabbitmq", but DRAMATIQ_BROKER names the embedded broker.'
        messages.append(Error(text, hint=f"Name {OURS!r}.", id="footfall.workers.E002"))
    if conf.TRANSPORT == "embedded" and broker.get("BROKER") == OURS:
        text = 'FOOTFALL["TRANSPORT"] is "embedded", but DRAMATIQ_BROKER names the RabbitMQ broker.'
        messages.append(Error(text, hint='Set TRANSPORT to "rabbitmq".', id="footfall.workers.E003"))
    if broker.get("BROKER") == OURS and broker.get("OPTIONS", {}).get("confirm_delivery") is False:
        text = "DRAMATIQ_BROKER switches confirm_delivery off: a broker that is killed then loses what was sent."
        messages.append(Caution(text, hint="Leave the option out.", id="footfall.workers.W001"))
    return messages


def check_broker_url(**_: Any) -> list[CheckMessage]:
    """The broker's address is there, and the user "guest" is used on this host only: RabbitMQ refuses it elsewhere."""
    if not is_dict() or conf.TRANSPORT != "rabbitmq":
        return []
    options = broker_options()
    url = conf.BROKER_URL or options.get("url")
    if url is None and "host" not in options and "parameters" not in options:
        text = "There is no broker URL for the shipper."
        return [Error(text, hint='Set FOOTFALL["BROKER_URL"].', id="footfall.workers.E004")]
    urls = [url] if isinstance(url, str) else list(url or ())
    for one in (part for text in urls for part in text.split(";")):
        parts = urlsplit(one)
        if unquote(parts.username or "guest") == "guest" and (parts.hostname or "") not in LOOPBACK:
            text = (
                f"The broker at {parts.hostname} is addressed as user guest, which RabbitMQ refuses from other hosts."
            )
            return [Error(text, hint="Make a user of its own.", id="footfall.workers.E005")]
    return []


def check_databases(**_: Any) -> list[CheckMessage]:
    """SQLite runs with WAL and IMMEDIATE transactions; connections that are kept are checked before they are used."""
    aliases = {router.db_for_write(model) for model in (AppliedMessage, DeadLetter, ViewMark)}
    return [message for alias in sorted(aliases) for message in _check_database(alias)]


def _check_database(alias: str) -> list[CheckMessage]:
    config = connections.settings[alias]
    if config["ENGINE"].endswith("sqlite3"):
        return _check_sqlite(alias, config.get("OPTIONS", {}))
    if config.get("CONN_MAX_AGE") and not config.get("CONN_HEALTH_CHECKS"):
        text = f"DATABASES[{alias!r}] keeps connections (CONN_MAX_AGE) without CONN_HEALTH_CHECKS."
        return [Caution(text, hint="Set CONN_HEALTH_CHECKS to True.", id="footfall.workers.W004")]
    return []


def _check_sqlite(alias: str, options: dict[str, Any]) -> list[CheckMessage]:
    messages: list[CheckMessage] = []
    if options.get("transaction_mode") != "IMMEDIATE":
        text = f"DATABASES[{alias!r}] is SQLite without IMMEDIATE transactions: writers fail with lock errors."
        hint = 'Set OPTIONS["transaction_mode"] to "IMMEDIATE".'
        messages.append(Caution(text, hint=hint, id="footfall.workers.W002"))
    if "journal_mode=wal" not in options.get("init_command", "").lower().replace(" ", ""):
        text = f"DATABASES[{alias!r}] is SQLite without WAL: readers and the worker shut each other out."
        hint = 'Set OPTIONS["init_command"] to "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL".'
        messages.append(Caution(text, hint=hint, id="footfall.workers.W003"))
    return messages
