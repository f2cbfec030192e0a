"""Settings of a newsroom whose workers take so few messages at a time that they get in each other's way."""

from settings.stack import *  # noqa: F403 - a settings module takes over all of its base
from settings.stack import FOOTFALL

FOOTFALL = {**FOOTFALL, "BATCH_MESSAGES": 10, "BATCH_LINGER_MS": 5}
