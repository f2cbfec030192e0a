"""The wire format as a JSON Schema, made from the structs by ``python -m footfall.producers.schema``.

The committed file beside this module is for programs that publish without Footfall's code; a test compares the two.
"""

import json
from typing import Any

import msgspec

from footfall.producers.messages import Event
from footfall.producers.queues import QUEUE_OF_KIND


def schema() -> dict[str, Any]:
    """A JSON Schema (2020-12) of a message: Dramatiq's envelope around a list of events."""
    (event,), components = msgspec.json.schema_components([Event], ref_template="#/$defs/{name}")
    queues = list(QUEUE_OF_KIND.values())
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Footfall message",
        "type": "object",
        "properties": {
            "queue_name": {"enum": queues, "description": "The queue that the message is published to."},
            "actor_name": {"enum": queues, "description": "The same as queue_name."},
            "args": {
                "type": "array",
                "prefixItems": [{"type": "array", "items": {"$ref": "#/$defs/Event"}}],
                "minItems": 1,
                "maxItems": 1,
                "description": "One list: the events.",
            },
            "kwargs": {"type": "object"},
            "options": {"type": "object"},
            "message_id": {
                "type": "string",
                "format": "uuid",
                "description": "New for each message, the same when it is sent again: that makes it count once.",
            },
            "message_timestamp": {
                "type": "integer",
                "minimum": 0,
                "description": "Milliseconds since 1970 when the message was first published.",
            },
        },
        "required": ["queue_name", "actor_name", "args", "kwargs", "options", "message_id", "message_timestamp"],
        "$defs": {"Event": event, **components},
    }


if __name__ == "__main__":
    print(json.dumps(schema(), indent=2, sort_keys=True))
