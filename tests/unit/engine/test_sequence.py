from dataclasses import dataclass

import pytest

from tests.unit.engine.contract import make_request
from webui.engine.interface import (
    Finish,
    FinishReason,
    Prefill,
    Reseeded,
    Text,
    Timings,
    TokenLogprob,
    Usage,
)
from webui.engine.runner import Sampled
from webui.engine.sequence import Phase, Sequence


@dataclass(frozen=True)
class OneWord:
    """A vocabulary whose every token says the same."""

    data: bytes
    ends: bool = False

    def token_bytes(self, token):
        return self.data

    def is_eog(self, token):
        return self.ends


SOME = Sampled(5)


def make(num=4, **fields):
    return Sequence(make_request("", **fields), [7] * num, context_length=100, arrived_s=1.0)


def take(sequence, data, now_s=3.0, *, is_eog=False, sampled=SOME):
    sequence.read(1)
    sequence.take(sampled, OneWord(data, is_eog), now_s)


def placed(**fields):
    sequence = make(**fields)
    sequence.place(0, 1, 2.0)
    sequence.read(2)
    return sequence


def test_deltas_of_a_whole_life():
    sequence = placed(max_tokens=3)
    assert sequence.deltas() == [Prefill(3, 4, 1)]
    take(sequence, b"a", 3.0)
    assert sequence.deltas() == [Prefill(4, 4, 1), Text("a", 1)]
    take(sequence, "ü".encode()[:1], 4.0)
    assert sequence.deltas() == []
    take(sequence, "ü".encode()[1:], 5.5)
    assert sequence.deltas() == [
        Text("ü", 2),
        Finish(FinishReason.LENGTH, Usage(4, 3, 1), Timings(1.0, 1.0, 2.5)),
    ]


def test_eog_is_not_counted_and_not_shown():
    sequence = placed()
    take(sequence, b"a")
    sequence.deltas()
    take(sequence, b"", is_eog=True)
    assert sequence.deltas() == [Finish(FinishReason.STOP, Usage(4, 1, 1), sequence.timings())]


def test_ignored_eog_counts_and_says_nothing():
    sequence = placed(ignore_eos=True, max_tokens=1)
    take(sequence, b"", is_eog=True)
    *_, text, finish = sequence.deltas()
    assert text == Text("", 1)
    assert finish.reason is FinishReason.LENGTH


def test_end_of_a_grammar_ends_also_where_eog_is_ignored():
    sequence = placed(ignore_eos=True, grammar='root ::= "a"')
    take(sequence, b"", is_eog=True)
    assert sequence.deltas()[-1].reason is FinishReason.STOP


def test_stop_string_ends_and_its_tokens_are_counted():
    sequence = placed(stop=("!!",))
    take(sequence, b"a!")
    take(sequence, b"!b")
    assert sequence.deltas()[1:] == [
        Text("a", 2),
        Finish(FinishReason.STOP, Usage(4, 2, 1), sequence.timings()),
    ]


def test_lost_cache_is_read_anew():
    sequence = make()
    sequence.place(0, 3, 2.0)
    sequence.lose_cache()
    sequence.read(2)
    assert sequence.deltas() == [Prefill(2, 4, 0)]


def test_clock_that_goes_back_gives_no_negative_seconds():
    sequence = make(max_tokens=1)
    sequence.place(0, 0, 0.5)
    sequence.read(3)
    take(sequence, b"a", 0.1)
    timings = sequence.deltas()[-1].timings
    assert min(timings.queued_s, timings.prefill_s, timings.decode_s) >= 0


def test_log_probabilities_stand_beside_the_tokens_they_belong_to():
    sequence = placed(max_tokens=3)
    take(sequence, b"a", sampled=Sampled(5, -0.5, ((5, -0.5), (6, -1.5))))
    top = ((b"a", -0.5), (b"a", -1.5))
    assert sequence.deltas()[1:] == [Text("a", 1, (TokenLogprob(b"a", -0.5, top),))]
    half, rest = "ü".encode()[:1], "ü".encode()[1:]
    take(sequence, half, sampled=Sampled(5, -2.0))
    assert sequence.deltas() == []
    take(sequence, rest, sampled=Sampled(5, -3.0))
    assert sequence.deltas()[0] == Text(
        "ü", 2, (TokenLogprob(half, -2.0), TokenLogprob(rest, -3.0))
    )


def test_stop_string_counts_only_behind_the_least_length():
    sequence = placed(stop=("!",), min_tokens=2)
    take(sequence, b"a!")
    take(sequence, b"!")
    take(sequence, b"b!c")
    assert sequence.deltas()[1:] == [
        Text("a!!b", 3),
        Finish(FinishReason.STOP, Usage(4, 3, 1), sequence.timings()),
    ]


def test_banned_string_is_taken_back_and_its_first_token_banned_there():
    sequence = placed(banned_strings=("no no",), seed=5)
    for data, token in ((b"oh", 1), (b" no", 2), (b" n", 3)):
        take(sequence, data, sampled=Sampled(token, -1.0))
        assert not sequence.is_rewound
    assert sequence.deltas()[1:] == [Text("oh", 1, (TokenLogprob(b"oh", -1.0),))]
    take(sequence, b"o", sampled=Sampled(4))
    assert sequence.is_rewound
    # The token before, the last that stands, is read again: the choice is made behind it.
    assert (sequence.tokens, sequence.num_read) == ([7] * 4 + [1], 4)
    assert sequence.banned_here() == {2}
    assert sequence.sampler_params().seed == 6
    sequence.is_rewound = False
    take(sequence, b" yes", sampled=Sampled(9))
    assert sequence.banned_here() == frozenset()
    take(sequence, b"", is_eog=True)
    assert sequence.deltas() == [
        Text(" yes", 1),
        Finish(FinishReason.STOP, Usage(4, 2, 1), sequence.timings()),
    ]


def test_what_was_held_back_is_said_at_the_end():
    sequence = placed(banned_strings=("abc",), max_tokens=2)
    take(sequence, b"a")
    assert sequence.deltas()[1:] == []
    take(sequence, b"b")
    *_, text, finish = sequence.deltas()
    assert (text, finish.reason) == (Text("ab", 2), FinishReason.LENGTH)


def test_stop_string_among_held_tokens_drops_those_behind_it():
    sequence = placed(banned_strings=("a.bcd",), stop=(".",))
    for data in (b"a", b".", b"b", b"c"):
        take(sequence, data)
    take(sequence, b"x")
    *_, text, finish = sequence.deltas()
    assert (text, finish.reason) == (Text("a", 2), FinishReason.STOP)
    assert finish.usage.completion_tokens == 2


def test_random_seed_stays_random_after_a_rewind():
    sequence = placed(banned_strings=("a",))
    take(sequence, b"a")
    assert sequence.is_rewound
    assert sequence.sampler_params().seed == -1


@pytest.mark.parametrize(
    ("max_tokens", "reason", "num"),
    [
        (2, FinishReason.LENGTH, 2),
        (96, FinishReason.CONTEXT, 96),  # both at once: to write on would need room
        (1000, FinishReason.CONTEXT, 96),
    ],
)
def test_end_by_length_tells_a_full_context_from_enough_tokens(max_tokens, reason, num):
    sequence = placed(max_tokens=max_tokens)
    while sequence.finish_reason is None:
        take(sequence, b"a")
    assert (sequence.finish_reason, sequence.num_reply) == (reason, num)


@pytest.mark.parametrize(
    ("num_prompt", "reason"), [(4, FinishReason.LENGTH), (99, FinishReason.CONTEXT)]
)
def test_end_for_want_of_cells_tells_a_full_context_from_a_full_pool(num_prompt, reason):
    sequence = make(num_prompt, max_tokens=50)
    sequence.place(0, 0, 2.0)
    sequence.read(num_prompt - 1)
    take(sequence, b"a")
    if sequence.finish_reason is None:
        sequence.end_full()
    assert sequence.finish_reason is reason


def write_and_yield(num_shifted, **fields):
    sequence = placed(temperature=1.0, context_overflow="shift", **fields)
    for letter in (b"a", b"b", b"c"):
        take(sequence, letter)
    if num_shifted:
        sequence.shift(1, 1 + num_shifted)
    sequence.deltas()
    sequence.give_up_slot()
    sequence.place(0, 1, 4.0)
    sequence.read(1)
    take(sequence, b"b")
    return sequence


@pytest.mark.parametrize("is_seed_drawn", [True, False])
def test_seed_that_does_not_hold_is_told_before_what_is_written_without_it(is_seed_drawn):
    sequence = write_and_yield(1, seed=7, is_seed_drawn=is_seed_drawn)
    assert [type(delta) for delta in sequence.deltas()] == [Reseeded, Text]
    take(sequence, b"c")
    assert [type(delta) for delta in sequence.deltas()] == [Text], "once is enough"


@pytest.mark.parametrize("is_seed_drawn", [True, False])
def test_seed_holds_when_a_slot_is_given_up(is_seed_drawn):
    sequence = write_and_yield(0, seed=7, is_seed_drawn=is_seed_drawn)
    assert Reseeded() not in sequence.deltas()
    assert sequence.sampler_params().seed == 7


@pytest.mark.parametrize("loses", [Sequence.give_up_slot, Sequence.lose_cache])
@pytest.mark.parametrize(
    ("seed", "num_kept", "is_told"), [(7, 6, False), (7, 5, True), (7, 0, True), (-1, 0, False)]
)
def test_seed_is_told_not_to_hold_when_words_of_the_reply_are_read_again(
    loses, seed, num_kept, is_told
):
    sequence = placed(temperature=1.0, seed=seed)
    for letter in (b"a", b"b", b"c"):
        take(sequence, letter)  # the last one is not read yet
    sequence.deltas()
    loses(sequence)
    if sequence.phase is Phase.WAITING:
        sequence.place(0, 0, 4.0)
    if num_kept:
        sequence.restore(num_kept)
    sequence.read(sequence.num_unread - 1)
    take(sequence, b"d")
    assert (Reseeded() in sequence.deltas()) is is_told
    take(sequence, b"e")
    assert Reseeded() not in sequence.deltas()
