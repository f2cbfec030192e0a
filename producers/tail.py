"""The reader's side of the spool: what the shipper and the embedded broker share.

Functions over a directory of journals; where a reader is in a journal, the reader stores. A complete line ends with a
newline. A last line without one is being written, or was torn off and never accepted.
"""

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from footfall.producers.spool import JOURNAL_SUFFIX, fork_guard, make_shared

logger = logging.getLogger("footfall.spool")

ASIDE_SUFFIX = ".aside"


class JournalDamagedError(Exception):
    """A journal doesn't hold what was read from it before: somebody or something changed it afterwards."""

    def __init__(self, path: Path, offset: int, text: str) -> None:
        super().__init__(f"The journal {path} is damaged: {text}")
        self.path = path
        self.offset = offset


@dataclass(frozen=True, slots=True)
class Slice:
    """The complete lines of ``journal`` (its file name) from byte ``start`` to ``end``, each with its own offset."""

    journal: str
    start: int
    end: int
    lines: tuple[tuple[int, bytes], ...]


def journals(directory: Path) -> list[Path]:
    """The journals in ``directory``, oldest change first; none where there is no such directory. Reads the disk."""
    found = []
    for path in directory.glob(f"*{JOURNAL_SUFFIX}"):
        try:
            found.append((path.stat().st_mtime_ns, path.name, path))
        except FileNotFoundError:  # another reader's work
            continue
    return [path for _, _, path in sorted(found)]


def read_slice(path: Path, offset: int, *, max_lines: int, max_bytes: int) -> Slice | None:
    """The complete lines from ``offset`` on, or None where there is none yet, or no such journal. Reads the disk.

    At most ``max_lines`` lines and ``max_bytes`` bytes, but always one line, however long. Empty lines are left out;
    a slice of nothing else has no lines and moves the offset all the same. Raises JournalDamagedError where no line
    of the journal ends at ``offset``, and OSError where it can't be read.
    """
    try:
        with path.open("rb", buffering=0) as journal:
            fd = journal.fileno()
            _check_offset(path, fd, offset)
            block = _complete_lines(fd, offset, max_bytes)
    except FileNotFoundError:
        return None
    return _split(path.name, offset, block, max_lines) if block else None


def writer_is_gone(path: Path) -> bool:
    """Whether nobody will write ``path`` any more. Reads the disk."""
    with _locked(path, fcntl.LOCK_SH) as fd:
        return fd is not None or not path.exists()


def remove_finished(path: Path, offset: int) -> bool:
    """Delete ``path`` where its writer is gone and no complete line follows ``offset``; True: it is gone.

    A torn last line goes with it: it was never accepted. Raises JournalDamagedError as `read_slice` does.
    """
    with _locked(path, fcntl.LOCK_EX) as fd:
        if fd is None:
            return not path.exists()
        _check_offset(path, fd, offset)
        if _complete_lines(fd, offset, 65_536):
            return False
        if torn := os.fstat(fd).st_size - offset:
            logger.info("A torn last line of %d bytes, never accepted, goes with its journal %s.", torn, path)
        path.unlink()
        return True


def pass_over_damage(damage: JournalDamagedError) -> int:
    """Copy a damaged journal aside for a person, log it as an ERROR, and return the offset from which to read on.

    Reading it again from the start would count twice what was read; going on from its present end loses nothing that
    the copy doesn't hold. Raises OSError where the copy can't be written: then nothing has changed.
    """
    try:
        content = damage.path.read_bytes()
    except FileNotFoundError:
        content = b""
    end = content.rfind(b"\n") + 1
    aside = set_aside(damage.path, content[:end])
    logger.error("%s What it holds now, %d bytes, was copied to %s and is passed over.", damage, end, aside)
    return end


def set_aside(path: Path, content: bytes) -> Path:
    """Add ``content`` to the file beside the journal ``path`` that waits for a person. Durable on return."""
    aside = path.with_suffix(ASIDE_SUFFIX)
    make_shared(aside)
    with aside.open("ab") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return aside


class SpoolLock:
    """One reader of a spool works, the others stand by. Held until `release`, or until the process ends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        #: How often this object took the lock: what was known before the last time may be out of date.
        self.times_taken = 0
        self._fd: int | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._fd is not None

    def acquire(self) -> bool:
        """Try to take the lock, without waiting. Raises OSError where the file can't be made."""
        if self._fd is not None and os.fstat(self._fd).st_nlink == 0:
            # Deleted under us: whoever makes the file anew would hold the lock as well.
            self.release()
        if self._fd is None:
            with fork_guard, suppress(FileNotFoundError):  # no directory, no lock
                make_shared(self.path)
                # Root truncates it in a directory where others may put links.
                self._fd = _open_locked(self.path, os.O_RDWR | os.O_NOFOLLOW, fcntl.LOCK_EX)
            if self._fd is not None:
                self.times_taken += 1
                os.ftruncate(self._fd, 0)
                os.write(self._fd, f"{os.getpid()}\n".encode())
        return self.held

    def holder(self) -> str:
        """Who holds the lock, for a person: a process id, or "?"."""
        try:
            return self.path.read_text("ascii", "replace").strip() or "?"
        except OSError:
            return "?"

    def release(self) -> None:
        """Let another reader work. In a forked child: forget the parent's lock, which stays the parent's."""
        if self._fd is not None:
            with fork_guard:
                os.close(self._fd)
                self._fd = None


def _check_offset(path: Path, fd: int, offset: int) -> None:
    size = os.fstat(fd).st_size
    if offset > size:
        raise JournalDamagedError(path, offset, f"it has {size} bytes, and {offset} had been read.")
    if offset and os.pread(fd, 1, offset - 1) != b"\n":
        raise JournalDamagedError(path, offset, f"no line ends at byte {offset}, up to which it had been read.")


def _complete_lines(fd: int, offset: int, max_bytes: int) -> bytes:
    """The bytes from ``offset`` up to the last newline within ``max_bytes``, or up to the first one beyond."""
    chunk = os.pread(fd, max_bytes, offset)
    end = chunk.rfind(b"\n") + 1
    return chunk[:end] if end or len(chunk) < max_bytes else _long_line(fd, offset, chunk)


def _long_line(fd: int, offset: int, chunk: bytes) -> bytes:
    # Each read is as long as all before it: a line of any length costs a time in proportion to it.
    chunks = [chunk]
    read = len(chunk)
    while chunk := os.pread(fd, read, offset + read):
        if end := chunk.find(b"\n") + 1:
            return b"".join([*chunks, chunk[:end]])
        chunks.append(chunk)
        read += len(chunk)
    return b""


def _split(journal: str, offset: int, block: bytes, max_lines: int) -> Slice:
    lines: list[tuple[int, bytes]] = []
    at = 0
    while at < len(block) and len(lines) < max_lines:
        end = block.index(b"\n", at)
        if end > at:
            lines.append((offset + at, block[at:end]))
        at = end + 1
    return Slice(journal, offset, offset + at, tuple(lines))


@contextmanager
def _locked(path: Path, operation: int) -> Iterator[int | None]:
    """A descriptor of ``path`` that holds a `flock` on it, or None where another holds one or there is no file."""
    with fork_guard:
        fd = _open_locked(path, os.O_RDONLY, operation)
        try:
            yield fd
        finally:
            if fd is not None:
                os.close(fd)


def _open_locked(path: Path, flags: int, operation: int) -> int | None:
    try:
        fd = os.open(path, flags | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd
