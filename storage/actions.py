"""What a site calls about its actions: who follows what, whose actions are whose, and the handlers of verbs."""

from footfall.storage.connecting import connect
from footfall.storage.drafts import Draft
from footfall.storage.handlers import ActionHandler, level
from footfall.storage.tombstones import get_del_item
from footfall.storage.tracking import track, untrack

__all__ = ["ActionHandler", "Draft", "connect", "get_del_item", "level", "track", "untrack"]
