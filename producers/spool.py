"""The writer's side of the spool: a directory on the host's own disk in which every process has journals of its own.

A journal is a file of JSON lines, one per unit of work, added with one `write()` each. Whoever writes a journal holds
a `flock` on it for life, so that a reader can tell a dead writer's journal. What `Spool.append` has accepted survives
the death of any process; with ``fsync`` it survives a power cut too. Nothing here raises into a web view: what can't
be accepted is dropped, counted and logged.

A group may share a spool: the directory's permissions and group are those of every file in it, whoever makes it.
"""

import fcntl
import logging
import os
import threading
import time
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Any

from django.core.signals import setting_changed

from footfall.producers.messages import new_id
from footfall.producers.settings import conf
from footfall.producers.testruns import in_test_run

logger = logging.getLogger("footfall.spool")

JOURNAL_SUFFIX = ".journal"
YOUNG_SUFFIX = ".young"
STAMP = "SITE"

LOOK_SECONDS = 1.0
COMPLAIN_SECONDS = 10.0
STALE_YOUNG_SECONDS = 60.0

#: Disk space left alone: without it the shipper could not write down where it is, and so never make room again.
SPARE_BYTES = 16_777_216

#: Held wherever a descriptor with a `flock` is opened or closed: a fork in between would leave the child, and so the
#: lock, with a descriptor that nobody knows of.
fork_guard = threading.RLock()


class SpoolError(Exception):
    """The spool can't be used as it is: its stamp, owner or disk. The text says what to do about it."""


class Spool:
    """One process's way into the spool at ``directory``. Threads may share it, a forked child gets its own journal.

    ``site`` is the stamp that keeps two sites apart, ``mode`` the directory's permissions. Sizes are in bytes. With
    ``fsync`` an append returns after `fdatasync`. Making one touches no disk.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        site: str,
        mode: int = 0o700,
        quota_bytes: int = 1_073_741_824,
        journal_max_bytes: int = 16_777_216,
        fsync: bool = False,
    ) -> None:
        self.directory = Path(directory)
        self.site = site
        self.mode = mode
        self.quota_bytes = quota_bytes
        self.journal_max_bytes = journal_max_bytes
        self.fsync = fsync
        self._begin()
        _spools.add(self)

    def _begin(self) -> None:
        # Reentrant, because a signal handler or a finaliser that publishes may run in the middle of an append.
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._fd: int | None = None
        self._size = 0
        self._torn = False
        self._room = 0
        self._shortage = ""
        self._look_at = 0.0
        self._complain_at = 0.0
        self._failing = 0
        #: Units that were not accepted, in this process.
        self.dropped_units = 0

    def append(self, line: bytes) -> bool:
        """Add ``line`` to this process's journal. True: accepted. False: dropped, counted and logged. Never raises.

        Touches the local disk, no network; blocks for other threads of this process only.
        """
        # Not left to the fork hook alone: uWSGI forks without running Python's hooks.
        if self._pid != os.getpid():
            self.leave_to_parent()
        with self._lock:
            try:
                self._write(line)
            except Exception as error:
                self._drop(error)
                return False
            if self._failing:
                self._recover()
            return True

    def open(self) -> None:
        """Make or check the directory. Raises SpoolError where it is another site's or user's, or can't be used."""
        try:
            self._own_directory()
            self._check_stamp()
        except OSError as error:
            raise self._unusable(error) from error

    def _unusable(self, error: OSError) -> SpoolError:
        return SpoolError(f"The spool {self.directory} can't be used: {error.strerror or error}.")

    def close(self) -> None:
        """Give up the journal, so that a reader may finish it. A later append opens another."""
        with self._lock, fork_guard:
            if self._fd is not None:
                os.close(self._fd)
            self._fd = None

    def leave_to_parent(self) -> None:
        """In a forked child: forget the parent's journal. Its `flock` would outlive the parent in our descriptor."""
        if self._fd is not None:
            os.close(self._fd)
        self._begin()

    def _write(self, line: bytes) -> None:
        now = time.monotonic()
        if now >= self._look_at:
            self._look_around(now)
        if len(line) + 2 > self._room:
            # A journal that is shipped goes only when its writer lets go of it: a full spool would stay full.
            self.close()
            raise SpoolError(self._shortage)
        if self._fd is None or self._size >= self.journal_max_bytes:
            self._rotate()
        self._write_line(line)

    def _write_line(self, line: bytes) -> None:
        # To JSON a newline is white space like another; to a journal it would be the end of a line.
        line = line.replace(b"\n", b" ") + b"\n"
        if self._torn:
            line = b"\n" + line
        self._write_bytes(self._journal, line)
        self._size += len(line)
        self._room -= len(line)
        if self.fsync:
            self._sync_journal()

    def _sync_journal(self) -> None:
        try:
            os.fdatasync(self._journal)
        except OSError:
            # The kernel has forgotten which pages failed: a second sync of this file would lie.
            self.close()
            raise

    def _write_bytes(self, fd: int, data: bytes) -> None:
        written = os.write(fd, data)
        if written < len(data):
            self._torn = True
            while data := data[written:]:
                written = os.write(fd, data)
        self._torn = False

    @property
    def _journal(self) -> int:
        assert self._fd is not None
        return self._fd

    def _look_around(self, now: float) -> None:
        """Once a second: how much may still be written, and is our journal still there?"""
        if self._fd is not None and os.fstat(self._fd).st_nlink == 0:
            logger.error("A journal in %s was deleted under its writer; what it held is lost.", self.directory)
            self.close()
        if self._fd is None:
            self.open()
        in_quota = self.quota_bytes - used_bytes(self.directory)
        on_disk = _free_bytes(self.directory)
        self._room = min(in_quota, on_disk)
        self._shortage = (
            f"The spool {self.directory} is over its quota of {self.quota_bytes} bytes."
            if in_quota <= on_disk
            else f"The disk of the spool {self.directory} is full."
        )
        if in_quota < self.quota_bytes // 4:
            # What is shipped of our journal goes only when we let go of it.
            self.close()
        self._look_at = now + LOOK_SECONDS

    def _rotate(self) -> None:
        with fork_guard:
            # The new journal first: where it can't be made, the old one stays ours.
            fd = self._new_journal()
            self.close()
            self._fd = fd
        self._size = 0
        self._torn = False

    def _new_journal(self) -> int:
        self.open()
        self._remove_stale_young()
        # Named by time, so that of two journals changed in the same tick the older comes first.
        name = new_id().hex
        young = self.directory / f"{name}{YOUNG_SUFFIX}"
        fd = os.open(young, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            share(fd, self.directory)
            # Locked before it has its name: a reader must never take it for a dead writer's.
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            young.rename(self.directory / f"{name}{JOURNAL_SUFFIX}")
            written_here.add(f"{name}{JOURNAL_SUFFIX}")
        except OSError as error:
            os.close(fd)
            young.unlink(missing_ok=True)
            raise self._unusable(error) from error
        if self.fsync:
            sync_directory(self.directory)
        return fd

    def _remove_stale_young(self) -> None:
        """What a writer left that was killed between making its journal and naming it."""
        for young in self.directory.glob(f"*{YOUNG_SUFFIX}"):
            try:
                if time.time() - young.stat().st_mtime > STALE_YOUNG_SECONDS:
                    young.unlink()
            except FileNotFoundError:
                continue

    def _own_directory(self) -> None:
        with suppress(FileExistsError):
            self.directory.mkdir(parents=True, mode=0o700)
        found = self.directory.stat()
        if found.st_uid == os.geteuid():
            if found.st_mode & 0o777 != self.mode:
                self.directory.chmod(self.mode)
                self._share_what_there_is()
        elif found.st_mode & 0o070 != 0o070:
            raise SpoolError(
                f"The spool {self.directory} belongs to user {found.st_uid} and we are {os.geteuid()}: a journal of"
                " ours would be unreadable to its shipper. Run as that user, or share it with a group: set SPOOL_MODE"
                " to 0o770, chgrp -R it to a group that both users are in, and let its owner start first."
            )

    def _share_what_there_is(self) -> None:
        """What was made under another mode: whoever may use the spool from now on needs its stamp, to begin with."""
        for path in self.directory.iterdir():
            with suppress(OSError):  # another user's, or gone by now
                if path.is_file():
                    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
                    try:
                        share(fd, self.directory)
                    finally:
                        os.close(fd)

    def _check_stamp(self) -> None:
        path = self.directory / STAMP
        # Of two sites that start at once the first one wins and stays.
        make_shared(path, f"{self.site}\n".encode())
        stamped = path.read_text("utf-8").strip()
        if stamped != self.site.strip():
            raise SpoolError(
                f"The spool {self.directory} is stamped with the site {stamped!r}, not {self.site!r}. Give each site"
                f" a SPOOL_DIR of its own; if the site was renamed, correct {path}."
            )

    def _drop(self, error: Exception) -> None:
        self.dropped_units += 1
        self._failing += 1
        now = time.monotonic()
        if now >= self._complain_at:
            self._complain_at = now + COMPLAIN_SECONDS
            logger.error("A unit of work was dropped, %d in this process so far: %s", self.dropped_units, error)

    def _recover(self) -> None:
        logger.warning("The spool %s accepts again, after %d units were dropped.", self.directory, self._failing)
        self._failing = 0
        self._complain_at = 0.0


def current_spool() -> Spool:
    """This process's spool, made from the settings, and made again when they change. Touches no disk."""
    spool = _current.get("spool")
    if spool is None:
        # setdefault, so that of two threads that come first both get the same one.
        spool = _current.setdefault("spool", spool_from_settings())
    return spool


def spool_from_settings() -> Spool:
    """A new spool as the settings say. Raises ImproperlyConfigured where they name no directory."""
    return Spool(
        conf.spool_dir,
        site=conf.site,
        mode=conf.SPOOL_MODE,
        quota_bytes=conf.SPOOL_QUOTA_BYTES,
        journal_max_bytes=conf.JOURNAL_MAX_BYTES,
        fsync=conf.SPOOL_FSYNC,
    )


def make_shared(path: Path, content: bytes = b"") -> None:
    """Make the file ``path`` of a spool where there is none; it is whole and shared from the first. Raises OSError."""
    if path.exists():
        return
    young = path.with_name(f"{path.name}.{new_id().hex}{YOUNG_SUFFIX}")
    with young.open("xb") as file:
        try:
            share(file.fileno(), path.parent)
            file.write(content)
            file.flush()
            # A link, not a rename: what another has made meanwhile stays.
            with suppress(FileExistsError):
                os.link(young, path)
        finally:
            young.unlink(missing_ok=True)


def share(fd: int, directory: Path) -> None:
    """Let whoever may use the spool ``directory`` use its new file ``fd``: same group and permissions.

    A file that root makes goes to the directory's owner. Raises OSError where that isn't allowed. Only for files that
    we made ourselves or that are no links: root would give away what others point it to.
    """
    wanted, found = directory.stat(), os.fstat(fd)
    user = wanted.st_uid if os.geteuid() == 0 else found.st_uid
    # A directory of one user may well have a group that its user isn't in.
    group = wanted.st_gid if wanted.st_mode & 0o070 else found.st_gid
    if (user, group) != (found.st_uid, found.st_gid):
        try:
            os.fchown(fd, user, group)
        except OSError as error:
            text = (
                f"its files have to be user {user}'s and group {group}'s, and ours can't be ({error.strerror})."
                " Join that group, or give the directory to one that all its users are in"
            )
            raise OSError(error.errno, text) from error
    os.fchmod(fd, wanted.st_mode & 0o666)


def used_bytes(directory: Path) -> int:
    """What the files of a spool take, in bytes. Raises FileNotFoundError where there is no such directory."""
    with os.scandir(directory) as entries:
        return sum(_size_of(entry) for entry in entries)


def _size_of(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size
    except FileNotFoundError:  # shipped and deleted since it was listed
        return 0


def _free_bytes(directory: Path) -> int:
    disk = os.statvfs(directory)
    spare = min(SPARE_BYTES, disk.f_blocks * disk.f_frsize // 20)
    return disk.f_bavail * disk.f_frsize - spare


def sync_directory(directory: Path) -> None:
    """Make the names in ``directory`` durable. Raises OSError; blocks on the disk."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


#: The names of the journals that this process has written.
written_here: set[str] = set()

_current: dict[str, Spool] = {}
_spools: weakref.WeakSet[Spool] = weakref.WeakSet()


def _start_in_child() -> None:
    fork_guard.release()
    for spool in list(_spools):
        spool.leave_to_parent()
    if in_test_run():
        _current.clear()  # the child has one of its own


os.register_at_fork(before=fork_guard.acquire, after_in_parent=fork_guard.release, after_in_child=_start_in_child)


def _forget_settings(*, setting: str, **_: Any) -> None:
    if setting in {"FOOTFALL", "BASE_DIR", "ROOT_URLCONF"} and "spool" in _current:
        _current.pop("spool").close()


setting_changed.connect(_forget_settings)
