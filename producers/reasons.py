"""Why an event or a delivery is not applied: the codes that dead letters and tallies carry."""

from enum import StrEnum


class Reason(StrEnum):
    """Why something is dead or filtered. The value is what the database stores and what filters take."""

    # The delivery as a whole
    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"
    TOO_LARGE = "too_large"
    BAD_ENVELOPE = "bad_envelope"
    WRONG_QUEUE = "wrong_queue"
    UNKNOWN_ACTOR = "unknown_actor"
    EXPIRED = "expired"
    KILLED_WORKER = "killed_worker"

    # One event
    UNKNOWN_KIND = "unknown_kind"
    UNKNOWN_VERSION = "unknown_version"
    BAD_EVENT = "bad_event"
    BAD_TEXT = "bad_text"
    BAD_NUMBER = "bad_number"
    BAD_TIME = "bad_time"
    BAD_KEY = "bad_key"
    UNKNOWN_TYPE = "unknown_type"
    UNKNOWN_DATASET = "unknown_dataset"
    UNKNOWN_FIELD = "unknown_field"
    UNKNOWN_OPERATION = "unknown_operation"
    UNKNOWN_ALIAS = "unknown_alias"
    HANDLER_ERROR = "handler_error"
    REFUSED = "refused"
    INTERNAL_ERROR = "internal_error"

    # Nothing is wrong with it: not asked for now, to be applied later
    HELD = "held"

    # Filtered, not dead
    SPIDER = "spider"
    NO_USER_AGENT = "no_user_agent"
    GONE = "gone"


#: The reasons that a dead letter may have.
DEADLY = tuple(reason for reason in Reason if reason not in (Reason.SPIDER, Reason.NO_USER_AGENT, Reason.GONE))
