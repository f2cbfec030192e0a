"""Footfall's settings: one dict, ``FOOTFALL = {…}``, in which every key has a default.

Read on each access, so ``override_settings`` works; a key that is not listed here is reported by a system check.
"""

from pathlib import Path
from typing import Any

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured

from footfall.producers import testruns

DEFAULTS: dict[str, Any] = {
    # -- Publishing
    "ENABLED": True,  # False: every publish helper checks its arguments and drops the event
    "TRANSPORT": "embedded",  # "rabbitmq", "embedded" (spool as queue, no broker) or "immediate" (same process)
    "SITE": None,  # what the spool is stamped with; None: ROOT_URLCONF
    "MAX_CLOCK_SKEW_SECONDS": 300,  # how far ahead of the clock an event's time may be
    "MAX_EVENT_BYTES": 65_536,  # an event larger than this is refused
    # -- Visitors
    "TRUSTED_PROXIES": 0,  # how many proxies of yours add to X-Forwarded-For; 0: the connection's own address
    "CONSENT": None,  # a callable(request) -> bool, or its import string: False: the visitor is not counted
    "RESPECT_DO_NOT_TRACK": False,  # True: a visitor who sends DNT: 1 is not counted
    "RESPECT_GLOBAL_PRIVACY_CONTROL": False,  # True: a visitor who sends Sec-GPC: 1 is not counted
    # -- The open end-point for labels
    "TRACK_ALLOWED_LABELS": None,  # labels that strangers may count, "*" in them stands for anything; None: all
    "TRACK_LABELS_PER_MINUTE": 120,  # of one client
    "TRACK_CACHE": "default",  # the alias of the cache that counts a client's labels
    # -- Spool
    "SPOOL_DIR": None,  # None: <BASE_DIR>/footfall-spool
    "SPOOL_QUOTA_BYTES": 1_073_741_824,
    "SPOOL_FSYNC": False,  # True: fdatasync after each unit of work; survives power loss
    "SPOOL_MODE": 0o700,
    "JOURNAL_MAX_BYTES": 16_777_216,
    # -- Shipper
    "SHIPPER": "thread",  # "thread", or "daemon": only `manage.py ship_spool` ships
    "BROKER_URL": None,  # None: the parameters of DRAMATIQ_BROKER where that is Footfall's broker
    "EVENTS_PER_MESSAGE": 200,
    "CONFIRM_WINDOW": 64,  # messages published before their confirms are awaited
    # -- Worker
    "BATCH_MESSAGES": 500,
    "BATCH_BYTES": 4_194_304,
    "BATCH_LINGER_MS": 30,
    "MAX_MESSAGE_BYTES": 4_194_304,
    "DELIVERY_LIMIT": 5,  # returns to the queue before a delivery is a suspect
    "LEDGER_DAYS": 30,  # how long an applied message is remembered; older messages are dead letters
    "FILTER_SPIDERS": True,
    "MISSING_USER_AGENT": "filter",  # a request without the header: "filter" or "keep"
    "MAX_NEW_LABELS_PER_DAY": 10_000,  # what comes beyond it counts under "(other)"; labels known before go on
    "MARKED_MODELS": None,  # labels of models whose deletion takes seen marks along; None: all; connected ones always
    # -- Actions
    "GROUPING_DELAY": 0,  # -1: off, 0: within the scope, n: also with what was stored up to n seconds before
    "LEVELS": {"NULL": 0, "DEBUG": 10, "HIDDEN": 20, "INFO": 30, "WARNING": 40, "ERROR": 50},
    "DEFAULT_LEVEL": "INFO",
    "READABLE_LEVEL": "INFO",  # below it nothing is unread, and a feed shows it only where it is asked for
    "DEFAULT_HANDLER": "footfall.storage.handlers.ActionHandler",  # for verbs without a handler of their own
    "ACTIONS_ATTR": "actions",  # what connected models call their actions,
    "TRACKERS_ATTR": "trackers",  # and their trackers
    "MAX_TRACKERS": 5_000,  # how many a user may follow by the button; code may track more
    "TRACK_UNREAD": True,  # False: nothing is ever unread
    "AUTO_READ": True,  # what is rendered for a user is read by them
    "VISIBLE_OBJECTS": None,  # a callable(user, queryset) -> queryset, or its import string: what the user may see
    # -- What a room calls above itself, by import string
    "APPLY": "footfall.workers.immediate.apply",
    "REPLAY": "footfall.workers.replay.replay",
}


#: The broker class whose options in DRAMATIQ_BROKER say where RabbitMQ is; another one's may be about Redis.
BROKER = "footfall.workers.broker.FootfallBroker"


def broker_options() -> dict[str, Any]:
    """The options of DRAMATIQ_BROKER where it names Footfall's RabbitMQ broker, else none."""
    broker = getattr(django_settings, "DRAMATIQ_BROKER", None) or {}
    return dict(broker.get("OPTIONS", {})) if broker.get("BROKER") == BROKER else {}


class Settings:
    """Attribute access to ``FOOTFALL`` with defaults; an unknown name raises AttributeError."""

    def __getattr__(self, name: str) -> Any:
        if name not in DEFAULTS:
            raise AttributeError(f"Footfall has no setting {name!r}")
        return getattr(django_settings, "FOOTFALL", {}).get(name, DEFAULTS[name])

    @property
    def spool_dir(self) -> Path:
        """The spool's directory; in a test run one of its own, whatever the settings say.

        Raises ImproperlyConfigured where neither SPOOL_DIR nor BASE_DIR is set.
        """
        if testruns.in_test_run():
            return testruns.spool_dir()
        if self.SPOOL_DIR is not None:
            return Path(self.SPOOL_DIR)
        base = getattr(django_settings, "BASE_DIR", None)
        if base is None:
            raise ImproperlyConfigured('FOOTFALL["SPOOL_DIR"] is not set, and there is no BASE_DIR to default to.')
        return Path(base) / "footfall-spool"

    @property
    def site(self) -> str:
        """The name a spool is stamped with, so that two sites never share one by accident."""
        return str(self.SITE or django_settings.ROOT_URLCONF)


conf = Settings()
