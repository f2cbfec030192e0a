"""On PostgreSQL: whatever writers and a client do at the same time, each committed change is told, once."""

import pytest
from interleavings import WRITERS, check_interleavings


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("stack_settings")
def test_hr_40_any_interleaving_of_transactions_and_polls_tells_every_committed_change_once() -> None:
    check_interleavings(at_once=len(WRITERS), examples=60)
