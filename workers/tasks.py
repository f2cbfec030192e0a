"""Footfall's actors, found by django-dramatiq's ``rundramatiq``: one for each queue, of the queue's name.

They are declared on a broker of Footfall's only. Another broker would feed them single decoded messages.
"""

import logging
from collections.abc import Callable
from threading import Event
from typing import Any

import dramatiq

from footfall.producers.queues import QUEUES, SPOOL
from footfall.workers.batches import Batch
from footfall.workers.broker import FootfallBroker
from footfall.workers.embedded import EmbeddedBroker
from footfall.workers.settling import settle, settle_pieces

logger = logging.getLogger("footfall.tasks")


def declare_actors(broker: dramatiq.Broker) -> None:
    """Declare our actors on ``broker`` if it is Footfall's; say what to do if it is not. Connects to nothing."""
    if isinstance(broker, FootfallBroker):
        for queue_name in QUEUES:
            _declare(broker, queue_name, settle)
    elif isinstance(broker, EmbeddedBroker):
        _declare(broker, SPOOL, settle_pieces)
    else:
        logger.info(
            "The site's Dramatiq broker is %s: run `dramatiq footfall.workers.app` beside it for Footfall's queues.",
            type(broker).__name__,
        )


def _declare(broker: FootfallBroker | EmbeddedBroker, queue_name: str, settle: Callable[[Any, Event], bool]) -> None:
    def run(batch: Batch) -> None:
        batch.settled = settle(batch, broker.stopping)

    if queue_name not in broker.actors:
        dramatiq.actor(broker=broker, actor_name=queue_name, queue_name=queue_name)(run)


# Not get_broker(): where the site has none it would make one, and other task queues import modules of this name too.
if dramatiq.broker.global_broker is not None:
    declare_actors(dramatiq.broker.global_broker)
