"""The spool's reader: complete lines only, each exactly once, and a journal is deleted only when nothing is in it."""

import fcntl
import logging
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from footfall.producers.spool import Spool
from footfall.producers.tail import (
    JournalDamagedError,
    Slice,
    SpoolLock,
    journals,
    pass_over_damage,
    read_slice,
    remove_finished,
    writer_is_gone,
)

#: Newer Pythons warn of every fork in a process with threads; forking servers do it all the same.
FORKING = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "a.journal"


def read(path: Path, offset: int = 0, max_lines: int = 100, max_bytes: int = 1000) -> Slice | None:
    return read_slice(path, offset, max_lines=max_lines, max_bytes=max_bytes)


def test_journals_come_oldest_change_first_and_then_by_name(tmp_path: Path) -> None:
    for name, changed in (("c", 1), ("a", 2), ("b", 1)):
        path = tmp_path / f"{name}.journal"
        path.touch()
        os.utime(path, (changed, changed))
    (tmp_path / "c.journal.offset").touch()
    (tmp_path / "d.young").touch()

    assert [path.stem for path in journals(tmp_path)] == ["b", "c", "a"]
    assert journals(tmp_path / "nowhere") == []


def test_a_slice_holds_complete_lines_with_their_offsets(journal: Path) -> None:
    journal.write_bytes(b"one\n\n\ntwo\nthr")

    assert read(journal) == Slice("a.journal", 0, 10, ((0, b"one"), (6, b"two")))
    assert read(journal, 10) is None
    assert read(journal.with_name("none.journal")) is None


def test_a_slice_of_empty_lines_moves_on(journal: Path) -> None:
    journal.write_bytes(b"\n\n")

    assert read(journal) == Slice("a.journal", 0, 2, ())


@pytest.mark.parametrize(
    ("max_lines", "max_bytes", "end"),
    [(1, 1000, 4), (2, 1000, 8), (100, 4, 4), (100, 11, 8), (100, 1, 4)],
    ids=["one line", "two lines", "one fits", "two fit", "one that doesn't fit"],
)
def test_a_slice_is_bounded_but_holds_one_line(journal: Path, max_lines: int, max_bytes: int, end: int) -> None:
    journal.write_bytes(b"one\ntwo\nsix\n")

    piece = read(journal, 0, max_lines, max_bytes)

    assert piece is not None
    assert piece.end == end


def test_a_long_line_costs_time_in_proportion_to_its_length(journal: Path) -> None:
    journal.write_bytes(b"x" * 32_000_000 + b"\nnext\n")

    start = time.perf_counter()
    piece = read(journal, max_bytes=64)

    assert time.perf_counter() - start < 2
    assert piece is not None
    assert (piece.end, len(piece.lines)) == (32_000_001, 1)


@given(
    lines=st.lists(st.binary(max_size=40).map(lambda line: line.replace(b"\n", b"")), max_size=30),
    torn=st.binary(max_size=10).map(lambda line: line.replace(b"\n", b"")),
    max_lines=st.integers(1, 5),
    max_bytes=st.integers(1, 50),
)
def test_whatever_the_bounds_each_line_is_read_once_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], torn: bytes, max_lines: int, max_bytes: int
) -> None:
    journal = tmp_path_factory.mktemp("tail") / "a.journal"
    content = b"".join(line + b"\n" for line in lines)
    journal.write_bytes(content + torn)
    found: list[tuple[int, bytes]] = []
    offset = 0
    while piece := read(journal, offset, max_lines, max_bytes):
        found += piece.lines
        assert offset == piece.start < piece.end
        offset = piece.end

    assert offset == len(content)
    assert [line for _, line in found] == [line for line in lines if line]
    assert all(content[at : at + len(line)] == line for at, line in found)


@pytest.mark.parametrize(("content", "offset"), [(b"", 4), (b"one\n", 8), (b"one-two\n", 4)])
def test_a_journal_that_changed_behind_us_is_damaged(journal: Path, content: bytes, offset: int) -> None:
    journal.write_bytes(content)

    with pytest.raises(JournalDamagedError):
        read(journal, offset)
    with pytest.raises(JournalDamagedError):
        remove_finished(journal, offset)


def test_damage_is_kept_for_a_person_reported_and_passed_over(journal: Path, caplog: pytest.LogCaptureFixture) -> None:
    journal.write_bytes(b"new\ntor")

    offset = pass_over_damage(JournalDamagedError(journal, 100, "it is short."))

    assert offset == 4
    assert journal.with_suffix(".aside").read_bytes() == b"new\n"
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    with journal.open("ab") as writer:
        writer.write(b"n\nnext\n")
    assert read(journal, offset) == Slice("a.journal", 4, 14, ((4, b"torn"), (9, b"next")))


def test_a_journal_stays_while_its_writer_lives_or_a_line_is_left(tmp_path: Path) -> None:
    spool = Spool(tmp_path, site="newsroom")
    spool.append(b"line")
    [journal] = journals(tmp_path)

    assert not writer_is_gone(journal)
    assert not remove_finished(journal, 5)
    spool.close()
    assert writer_is_gone(journal)
    assert not remove_finished(journal, 0)
    assert remove_finished(journal, 5)
    assert journals(tmp_path) == []
    assert writer_is_gone(journal)
    assert remove_finished(journal, 5), "gone is gone"


def test_a_torn_last_line_goes_with_its_journal_and_is_said(journal: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    journal.write_bytes(b"line\nsecret half")

    assert remove_finished(journal, 5)

    assert not journal.exists()
    assert "torn last line of 11 bytes" in caplog.text
    assert "secret" not in caplog.text


def test_one_reader_holds_the_lock_and_says_who_it_is(tmp_path: Path) -> None:
    first, second = SpoolLock(tmp_path / "lock"), SpoolLock(tmp_path / "lock")

    assert first.acquire()
    assert first.acquire()
    assert not second.acquire()
    assert second.holder() == str(os.getpid())
    first.release()
    assert second.acquire()
    second.release()


def test_a_lock_whose_file_was_deleted_is_taken_anew(tmp_path: Path) -> None:
    first, second = SpoolLock(tmp_path / "lock"), SpoolLock(tmp_path / "lock")
    first.acquire()
    first.path.unlink()

    assert second.acquire()
    assert not first.acquire(), "two must not believe that they hold it"
    second.release()


@FORKING
def test_a_child_that_lets_go_of_the_lock_leaves_it_to_its_parent(tmp_path: Path) -> None:
    lock = SpoolLock(tmp_path / "lock")
    lock.acquire()
    child = os.fork()
    if child == 0:
        lock.release()
        os._exit(0)
    os.waitpid(child, 0)

    with lock.path.open() as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    lock.release()
