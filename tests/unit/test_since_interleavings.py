"""On SQLite: whatever writers and a client do in turn, or in threads, each committed change is told, once."""

import pytest
from interleavings import check_interleavings
from mirrors import check_copy

pytestmark = pytest.mark.django_db(transaction=True)


def test_hr_40_any_interleaving_of_a_writer_and_a_client_tells_every_committed_change_once() -> None:
    check_interleavings(at_once=1, examples=40)


@pytest.mark.parametrize("seed", [1, 2])
def test_hr_40_a_copy_that_is_kept_while_threads_write_ends_as_what_it_is_a_copy_of(seed: int) -> None:
    """One writes at a time, and the client takes a few rows a time."""
    check_copy(seed, writers=3, transactions=20)
