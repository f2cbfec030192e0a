"""Deletions, restorations and statuses set by hand in any order come to what was promised, in few statements."""

from __future__ import annotations

import pytest
from deletions import STATEMENTS, Step, large_deletions, play, steps
from django.db import connection
from hypothesis import given, settings
from hypothesis.extra.django import TestCase


class TestForests(TestCase):
    """Rows of four models in forests, and of a model with a table of its own."""

    @settings(max_examples=100, deadline=None, database=None)
    @given(given_steps=steps)
    def test_hr_45_whatever_the_order_what_went_together_comes_back_and_nothing_else(
        self, given_steps: list[Step]
    ) -> None:
        """Statuses, versions and refusals are those of a plain account of the promises."""
        play(given_steps)


@pytest.mark.django_db(transaction=True)
def test_ten_thousand_children_in_two_levels_go_in_six_statements() -> None:
    """With those that begin and end the transaction, or the savepoint in another."""
    for statements in large_deletions():
        assert len(statements) == STATEMENTS[connection.vendor], statements
