"""The names and arguments of Footfall's queues: what publishers, workers and broker definitions agree on."""

from typing import Any

from footfall.producers.settings import conf

VIEWS = "footfall.views"
INCREMENTS = "footfall.increments"
ACTIONS = "footfall.actions"
QUARANTINE = "footfall.quarantine"

#: What the embedded broker calls the spool.
SPOOL = "footfall.spool"

#: The queue of each message kind. The actor that consumes a queue has the queue's name.
QUEUE_OF_KIND = {"view": VIEWS, "increment": INCREMENTS, "action": ACTIONS}

#: Every queue that Footfall consumes from RabbitMQ.
QUEUES = (VIEWS, INCREMENTS, ACTIONS, QUARANTINE)


def queue_arguments(queue_name: str) -> dict[str, Any]:
    """The arguments with which ``queue_name`` is declared: a quorum queue whose limits stand here only.

    A delivery that came back too often is a suspect and goes to the quarantine queue, at least once: that strategy
    needs ``reject-publish``. Actions have a single active consumer, so that an actor's actions stay in order.
    """
    arguments: dict[str, Any] = {"x-queue-type": "quorum", "x-overflow": "reject-publish"}
    if queue_name == QUARANTINE:
        return arguments | {"x-single-active-consumer": True}
    arguments |= {
        "x-delivery-limit": conf.DELIVERY_LIMIT,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": QUARANTINE,
        "x-dead-letter-strategy": "at-least-once",
    }
    if queue_name == ACTIONS:
        arguments["x-single-active-consumer"] = True
    return arguments
