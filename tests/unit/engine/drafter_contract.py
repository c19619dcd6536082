"""What every draft model owes the engine, be it made up or real.

A test module makes a subclass with a fixture `drafter` of at least two slots and 64 tokens.
"""

from __future__ import annotations

from webui.engine.drafter import DraftRow

TEXT = list(b"Once upon a time there was a hearth.")
OTHER = list(b"The quick brown fox")


class DrafterContract:
    """The suite; every test takes an open draft model that is its own."""

    def test_reads_no_more_than_it_may_and_goes_on_there(self, drafter):
        rows = [DraftRow(0, TEXT, 4), DraftRow(1, OTHER, 4)]
        total = len(TEXT) + len(OTHER) - 2
        assert sum(map(drafter.num_missing, rows)) == total
        read = [drafter.read(rows, 10) for _ in range(total // 10 + 2)]
        assert read == [10] * (total // 10) + [total % 10, 0]
        assert list(map(drafter.num_missing, rows)) == [0, 0]

    def test_slot_that_forgot_has_read_nothing(self, drafter):
        rows = [DraftRow(0, TEXT, 4), DraftRow(1, OTHER, 4)]
        alone = drafter.propose(rows)
        drafter.forget(0)
        assert list(map(drafter.num_missing, rows)) == [len(TEXT) - 1, 0]
        assert drafter.propose(rows) == alone
        drafter.forget(0)
        drafter.forget(0)

    def test_guesses_are_as_many_as_wanted_at_most(self, drafter):
        for num in (1, 2, 7):
            few, more = drafter.propose([DraftRow(0, TEXT, num), DraftRow(1, OTHER, num + 1)])
            assert len(few) <= num
            assert len(more) <= num + 1

    def test_guesses_depend_on_nothing_but_the_row(self, drafter):
        first, second = DraftRow(0, TEXT, 5), DraftRow(1, OTHER, 5)
        alone = [drafter.propose([first])[0], drafter.propose([second])[0]]
        assert drafter.propose([first, second]) == alone
        assert drafter.propose([second, first]) == alone[::-1]
        # The slots change hands.
        swapped = [DraftRow(1, TEXT, 5), DraftRow(0, OTHER, 5)]
        assert drafter.propose(swapped) == alone

    def test_what_held_is_not_read_again_and_the_rest_is_forgotten(self, drafter):
        (guesses,) = drafter.propose([DraftRow(0, TEXT, 5)])
        assert drafter.num_missing(DraftRow(0, [*TEXT, *guesses[:3]], 5)) == 0
        other = (guesses[0] + 1) % 256
        turned = DraftRow(0, [*TEXT, other, 65, 66], 5)
        assert drafter.num_missing(turned) == 2
        assert drafter.propose([turned]) == drafter.propose([DraftRow(1, turned.tokens, 5)])
        shorter = DraftRow(0, TEXT[:20], 5)
        assert drafter.num_missing(shorter) == 0
        assert drafter.propose([shorter]) == drafter.propose([DraftRow(1, TEXT[:20], 5)])
