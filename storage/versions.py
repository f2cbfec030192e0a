"""History: what objects were, what changed, and the way back. With django-reversion, the extra ``footfall[history]``.

Importable without it; what needs it then raises ImproperlyConfigured when it is used.
"""

from footfall.storage.objectversions import Diff, History, Version, VersionNotFound
from footfall.storage.reversionversions import ReversionHistory, ReversionReverter, ReversionVersion
from footfall.storage.reverting import Reverter
from footfall.storage.revisions import is_installed, register

__all__ = [
    "Diff",
    "History",
    "ReversionHistory",
    "ReversionReverter",
    "ReversionVersion",
    "Reverter",
    "Version",
    "VersionNotFound",
    "is_installed",
    "register",
]
