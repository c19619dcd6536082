"""Who lets another read for both: only one of the same owner, never to anybody's loss."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.engine.contract import make_request
from tests.unit.engine.fake_runner import FakeRunner
from tests.unit.engine.test_scheduler import make_scheduler
from webui.engine.following import MIN_LED_TOKENS, Following
from webui.engine.interface import Priority
from webui.engine.runner import Sampled
from webui.engine.sequence import Sequence
from webui.engine.states import MIN_GAIN_TOKENS

VOCABULARY = FakeRunner()
BUDGET = 64


def make(name, prompt, owner="ann", arrival=0, **fields):
    request = make_request("", owner=owner, request_id=name, **fields)
    sequence = Sequence(request, list(prompt), context_length=4096, arrived_s=0.0)
    sequence.arrival = arrival
    return sequence


def reading(*prompts, **fields):
    """Return sequences with these prompts that have a slot and have read nothing."""
    sequences = [make(f"r{at}", prompt, arrival=at, **fields) for at, prompt in enumerate(prompts)]
    for sequence in sequences:
        sequence.place(sequence.arrival, 0, 0.0)
    return sequences


def arrival_of(sequence):
    return sequence.is_background, 0, sequence.arrival


def stopping():
    """Return one for a memory that cannot be cut."""
    following = Following()
    following.can_cut = False
    return following


def heads(following, sequences):
    """Return who reads for itself, and up to where, in order."""
    order = following.in_turn(sequences, arrival_of)
    return [(sequence.request_id, stop) for sequence, stop in order]


def test_first_of_equal_prompts_reads_for_all():
    sequences = reading(*[[1] * 300] * 4)
    following = stopping()
    assert heads(following, sequences) == [("r0", 299)]
    assert following.reader(sequences[3], sequences) is sequences[0]
    following.can_cut = True
    assert heads(following, sequences) == [("r0", 0)]


@pytest.mark.parametrize(
    ("num", "is_led"), [(MIN_GAIN_TOKENS, False), (MIN_GAIN_TOKENS + 1, True), (300, True)]
)
def test_short_prompt_is_read_by_each(num, is_led):
    one, other = reading([1] * num, [1] * num)
    assert Following().is_led(other, [one, other]) is is_led


@pytest.mark.parametrize(
    ("num", "is_led"), [(MIN_LED_TOKENS - 1, False), (MIN_LED_TOKENS, True), (500, True)]
)
def test_short_common_beginning_is_read_by_each(num, is_led):
    one, other = reading([1] * num + [2] * 50, [1] * num + [3] * 50)
    following = stopping()
    assert following.is_led(other, [one, other]) is is_led
    assert heads(following, [one, other])[0] == ("r0", num if is_led else 0)


def test_other_owner_other_scales_and_who_waits_for_the_disk_are_left_alone():
    one, other, strong, held = (
        make("a", [1] * 300, "ann", 0, lora_scales=(0.0,)),
        make("b", [1] * 300, "bob", 1, lora_scales=(0.0,)),
        make("c", [1] * 300, "ann", 2, lora_scales=(1.0,)),
        make("d", [1] * 300, "cid", 3),
    )
    after = make("e", [1] * 300, "cid", 4)
    held.is_held = True
    following = stopping()
    everybody = [one, other, strong, held, after]
    assert not any(following.is_led(sequence, everybody) for sequence in everybody)
    assert following.border(one, other) == following.border(one, strong) == 0


def test_chat_does_not_wait_for_a_program_or_for_background_work():
    back, chat, program = (
        make("back", [1] * 300, arrival=0, priority=Priority.BACKGROUND),
        make("chat", [1] * 300, arrival=1),
        make("program", [1] * 300, arrival=2, priority=Priority.API),
    )
    back.place(0, 100, 0.0)
    following = stopping()
    everybody = [back, chat, program]
    assert not following.is_led(chat, everybody)
    assert following.is_led(program, everybody)
    assert not following.is_led(back, everybody), "it is further, and loses nothing"
    back.num_read = 0
    assert heads(following, everybody) == [("chat", 299), ("back", 0)]
    chat.num_read = 1
    assert heads(following, everybody) == [("chat", 299)]


def test_furthest_reads_at_the_turn_of_the_first():
    first, between, furthest = reading([1] * 300 + [2] * 50, [4] * 300, [1] * 300 + [3] * 50)
    furthest.num_read = 100
    assert heads(stopping(), [first, between, furthest]) == [("r2", 300), ("r1", 0)]


def test_who_is_alone_waits_for_nobody_and_may_lead():
    sequences = reading(*[[1] * 300] * 3)
    following = stopping()
    following.alone = {"r1"}
    assert heads(following, sequences) == [("r0", 299), ("r1", 0)]
    assert heads(following, sequences[1:]) == [("r1", 299)]


def test_who_waits_for_a_copy_does_not_read():
    sequences = reading([1] * 30, [2] * 30)
    following = stopping()
    following.postponed = {"r0"}
    assert heads(following, sequences) == [("r1", 0)]


def test_who_is_led_by_several_waits_for_the_one_that_leads_furthest():
    short, far, led = reading([1] * 200 + [2] * 50, [1] * 500 + [3] * 50, [1] * 500 + [4] * 50)
    short.num_read = 100
    far.num_read = 60
    following = stopping()
    assert following.reader(led, [short, far, led]) is far
    # The one in the middle waits itself, so that both stop where the first parts from it.
    assert heads(following, [short, far, led]) == [("r0", 200)]
    assert heads(following, [far, led]) == [("r1", 500)]


def test_what_is_left_behind_a_border_is_never_a_single_token():
    for one in range(2, 14):
        for other in range(2, 14):
            for num in range(1, min(one, other)):
                a = make("a", [1] * num + [2] * (one - num), arrival=1)
                b = make("b", [1] * num + [3] * (other - num), arrival=2)
                border = Following().border(a, b)
                assert border <= num
                assert num - border <= 3
                assert 1 not in {one - 1 - border, other - 1 - border} or not border


def test_shifted_context_serves_nobody():
    one, other = reading([1] * 300, [1] * 300)
    one.read(299)
    one.read(1)
    one.take(Sampled(7), VOCABULARY, 0.0)
    following = stopping()
    assert following.border(other, one) == 299
    one.shift(2, 50)
    assert following.border(other, one) == 0


def test_nothing_is_remembered_of_who_is_gone():
    sequences = reading(*[[1] * 300] * 4)
    following = stopping()
    heads(following, sequences)
    assert following._borders
    following.tidy(sequences[:1])
    assert not following._borders


prompts = st.builds(
    lambda start, num, tail, more: [start] * num + [tail] * more,
    st.sampled_from([1, 2]),
    st.integers(1, 400),
    st.sampled_from([1, 3, 4]),
    st.integers(1, 60),
)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            prompts,
            st.integers(0, 400),
            st.sampled_from("ab"),
            st.sampled_from(Priority),
            st.booleans(),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_there_is_always_one_who_reads_and_chunks_end_where_others_wait(drawn):
    sequences = []
    for arrival, (prompt, num_read, owner, priority, is_held) in enumerate(drawn):
        sequence = make(f"r{arrival}", prompt, owner, arrival, priority=priority)
        sequence.place(arrival, min(num_read, len(prompt) - 1), 0.0)
        sequence.is_held = is_held
        sequences.append(sequence)
    present = [sequence for sequence in sequences if not sequence.is_held]
    unread = [sequence for sequence in present if sequence.num_unread > 1]
    following = stopping()
    stops = dict(following.in_turn(unread, arrival_of))
    order = list(stops)
    assert bool(order) == bool(unread)
    for sequence in unread:
        if sequence in order:
            continue
        reader = following.reader(sequence, unread)
        assert reader.owner == sequence.owner
        assert reader.request.priority <= sequence.request.priority
        assert reader.num_read >= sequence.num_read
        border = following.border(reader, sequence)
        assert sequence.tokens[:border] == reader.tokens[:border]
        assert reader.num_read < border
        assert reader not in stops or reader.num_read < stops[reader] <= border
        root = sequence
        while root not in order:
            root = following.reader(root, unread)
        before = [other for other in unread if arrival_of(other) < arrival_of(sequence)]
        assert order.index(root) <= len(before), "it is overtaken by one who came later"


def ready(load, *, follows, can_cut=True):
    """Let all ask at once; return how many tokens were read until each had but its last to read.

    Args:
        load: The prompts.
        follows: Whether anybody is led; copies cost nothing.
        can_cut: Whether they can be cut.
    """
    scheduler = make_scheduler(num_slots=len(load), max_batch_tokens=512)
    following = scheduler.following
    following.can_cut = can_cut
    for at, prompt in enumerate(load):
        scheduler.add(make(f"r{at}", prompt, max_tokens=99))
    scheduler.admit(0.0)
    num_read, when = 0, {}
    for _ in range(3000):
        here = scheduler.reading
        if not follows:
            following.alone = {sequence.request_id for sequence in here}
        for sequence in following.furthest_first(here) if follows else []:
            held = [
                (min(following.border(sequence, other), other.num_read), other.num_read)
                for other in here
            ]
            most = max((num for num, whole in held if num == whole or can_cut), default=0)
            if most > sequence.num_read and not following.is_led(sequence, here):
                sequence.restore(most)
        for sequence in here:
            if sequence.num_unread == 1:
                when.setdefault(sequence.request_id, num_read)
        if len(when) == len(load):
            return when
        rows = [row for row in scheduler.schedule(BUDGET) if not row.sample]
        num_read += sum(len(row.tokens) for row in rows)
        scheduler.update(rows, [None] * len(rows), VOCABULARY, 0.0)
    raise AssertionError("it does not end")


@settings(max_examples=100, deadline=None)
@given(st.lists(prompts, min_size=1, max_size=6))
def test_nobody_of_one_owner_comes_later_than_by_reading_alone(load):
    alone = ready(load, follows=False)
    led = ready(load, follows=True)
    for name, num_tokens in led.items():
        assert num_tokens <= alone[name] + BUDGET, "more than a step later"
    assert max(led.values()) <= max(alone.values())
    assert max(ready(load, follows=True, can_cut=False).values()) <= max(alone.values())


def test_equal_prompts_cost_one():
    assert max(ready([[1] * 400] * 6, follows=False).values()) == 6 * 399
    assert set(ready([[1] * 400] * 6, follows=True).values()) == {399}
