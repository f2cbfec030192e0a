"""Soft deletion and restoration on PostgreSQL, as `tests/unit/test_deletion_properties.py` has them on SQLite."""

from __future__ import annotations

import pytest
from deletions import STATEMENTS, Step, large_deletions, play, steps
from hypothesis import given, settings
from hypothesis.extra.django import TestCase

pytestmark = pytest.mark.usefixtures("stack_settings")


class TestForests(TestCase):
    """Rows of four models in forests, and of a model with a table of its own."""

    @settings(max_examples=60, deadline=None, database=None)
    @given(given_steps=steps)
    def test_hr_45_whatever_the_order_what_went_together_comes_back_and_nothing_else(
        self, given_steps: list[Step]
    ) -> None:
        """Statuses, versions and refusals are those of a plain account of the promises."""
        play(given_steps)


@pytest.mark.django_db(transaction=True)
def test_ten_thousand_children_in_two_levels_go_in_five_statements() -> None:
    """With those that begin and end the transaction, or the savepoint in another."""
    for statements in large_deletions():
        assert len(statements) == STATEMENTS["postgresql"], statements
