"""The published schema of the wire format is the one that the structs have."""

import json
from pathlib import Path

from footfall.producers import schema
from footfall.producers.messages import KINDS
from footfall.producers.queues import QUEUE_OF_KIND

COMMITTED = Path(schema.__file__).with_name("message.schema.json")


def test_the_committed_schema_is_the_generated_one() -> None:
    """Who changes a struct also commits `python -m footfall.producers.schema > producers/message.schema.json`."""
    assert json.loads(COMMITTED.read_text("utf-8")) == schema.schema()


def test_the_schema_knows_every_kind_and_every_queue() -> None:
    """A program that follows it can say all there is to say."""
    text = COMMITTED.read_text("utf-8")

    assert all(f'"{kind}"' in text for kind in KINDS)
    assert all(f'"{queue}"' in text for queue in QUEUE_OF_KIND.values())


def test_every_reference_in_the_schema_leads_somewhere() -> None:
    """No `$ref` dangles."""
    document = schema.schema()
    text = json.dumps(document)
    wanted = {part.split('"')[0] for part in text.split('"$ref": "#/$defs/')[1:]}

    assert wanted and wanted <= document["$defs"].keys()
