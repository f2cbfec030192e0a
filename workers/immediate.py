"""The immediate transport: what is published is applied at once, in the same process. For development and tests."""

import asyncio
import threading

from django.db import connections

from footfall.producers.messages import decode_unit
from footfall.producers.queues import SPOOL
from footfall.workers import pipeline


def apply(line: bytes) -> None:
    """Apply one line of what would be the spool. Blocks on the database and raises what it raises.

    In an async view the work is done on a thread of its own, for the loop's thread may not touch a database.
    """
    delivery = pipeline.Delivery(line, SPOOL, decode_unit(line))
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pipeline.apply([delivery])
    else:
        _apply_aside(delivery)


def _apply_aside(delivery: pipeline.Delivery) -> None:
    failure: list[Exception] = []

    def work() -> None:
        try:
            pipeline.apply([delivery])
        except Exception as error:
            failure.append(error)
        finally:
            connections.close_all()

    thread = threading.Thread(target=work, name="footfall-immediate")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
