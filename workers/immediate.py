"""The immediate transport: what is published is applied at once, in the same process. For development and tests."""

import logging

from footfall.producers.messages import decode_unit
from footfall.workers import pipeline
from footfall.workers.embedded import SPOOL_QUEUE

logger = logging.getLogger("footfall.immediate")


def apply(line: bytes) -> None:
    """Apply one line of what would be the spool. Blocks on the database. Never raises: a failure is logged."""
    try:
        pipeline.apply([pipeline.Delivery(line, SPOOL_QUEUE, decode_unit(line))])
    except Exception:
        logger.exception("A unit could not be applied at once and is lost.")
