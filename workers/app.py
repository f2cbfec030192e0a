"""``dramatiq footfall.workers.app``: Footfall's workers for a site whose own Dramatiq uses another broker, or none.

Needs DJANGO_SETTINGS_MODULE. The setting TRANSPORT decides what is consumed: RabbitMQ's queues or the spool.
"""

import importlib

import django
import dramatiq
from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import module_has_submodule
from django_dramatiq.middleware import DbConnectionsMiddleware
from dramatiq.middleware import Middleware

from footfall.producers.settings import broker_options, conf
from footfall.workers.batches import BatchBroker


def make_broker() -> BatchBroker:
    """Our broker, as the settings say. Raises ImproperlyConfigured where there is nothing to consume."""
    from footfall.workers.broker import FootfallBroker
    from footfall.workers.checks import check_broker_url
    from footfall.workers.embedded import EmbeddedBroker

    middleware: list[Middleware] = [DbConnectionsMiddleware()]
    if conf.TRANSPORT == "rabbitmq":
        for error in check_broker_url():
            raise ImproperlyConfigured(f"{error.msg} {error.hint}")
        return FootfallBroker(middleware=middleware, url=conf.BROKER_URL or broker_options().get("url"))
    if conf.TRANSPORT == "embedded":
        return EmbeddedBroker(middleware=middleware)
    raise ImproperlyConfigured(f'FOOTFALL["TRANSPORT"] is {conf.TRANSPORT!r}, which leaves nothing to a worker.')


def _bind_site_actors() -> None:
    """Import the site's actors while its own broker is the global one, so that they stay with it.

    One that is imported later, inside an action handler for instance, would be declared on ours.
    """
    names = getattr(settings, "DRAMATIQ_AUTODISCOVER_MODULES", ("tasks",))
    for config in apps.get_app_configs():
        for name in names:
            if config.name != "footfall.workers" and module_has_submodule(config.module, name):
                importlib.import_module(f"{config.name}.{name}")


def _start() -> BatchBroker:
    django.setup()
    if apps.is_installed("django_dramatiq"):
        _bind_site_actors()
    broker = make_broker()
    dramatiq.set_broker(broker)
    from footfall.workers.tasks import declare_actors

    declare_actors(broker)
    return broker


broker = _start()
