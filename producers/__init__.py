"""What a web process uses to say that something happened."""

from footfall.producers.publish import (
    log,
    publish_action,
    publish_all_viewed,
    publish_decrement,
    publish_increment,
    publish_labels,
    publish_model_view,
    publish_view,
)
from footfall.producers.scoping import scope

__all__ = [
    "log",
    "publish_action",
    "publish_all_viewed",
    "publish_decrement",
    "publish_increment",
    "publish_labels",
    "publish_model_view",
    "publish_view",
    "scope",
]
