"""Which turns are left out: the rest fits, nothing precious is lost, the cut rarely moves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webui.engine.overflow import (
    ContextOverflow,
    CountedMessage,
    LeftOut,
    choose_left_out,
    prompt_room,
)

CUTTING = [ContextOverflow.DROP_OLDEST, ContextOverflow.CUT_MIDDLE]


def talk(num_turns: int, *, size: int = 10, system: int = 5) -> list[CountedMessage]:
    turns = [CountedMessage(role, size) for _ in range(num_turns) for role in ("user", "assistant")]
    return [CountedMessage("system", system), *turns, CountedMessage("user", size)]


@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=40),
    st.integers(0, 50),
    st.integers(1, 400),
    st.sampled_from(CUTTING),
)
def test_the_rest_fits_or_nothing_could(
    sizes: list[int], system: int, room: int, policy: ContextOverflow
) -> None:
    roles = ["user" if (len(sizes) - at) % 2 else "assistant" for at in range(len(sizes))]
    messages = [CountedMessage("system", system), *map(CountedMessage, roles, sizes)]

    left_out = choose_left_out(messages, room, policy)

    if left_out is None:
        assert system + sizes[-1] > room
        return
    kept = messages[: left_out.start] + messages[left_out.stop :]
    assert sum(message.num_tokens for message in kept) <= room
    assert kept[0] is messages[0]
    assert kept[-1] is messages[-1]
    assert messages[left_out.stop].role == "user" or left_out.start == left_out.stop


@pytest.mark.parametrize("policy", CUTTING)
def test_the_cut_moves_only_every_quarter_of_the_room(policy: ContextOverflow) -> None:
    cuts = [choose_left_out(talk(turns), 400, policy) for turns in range(20, 60)]

    stops = {cut.stop for cut in cuts if cut is not None}

    assert None not in cuts
    assert len(stops) <= 40 * 20 / 100 + 1


def test_the_middle_cut_keeps_the_first_turn() -> None:
    left_out = choose_left_out(talk(10), 150, ContextOverflow.CUT_MIDDLE)

    assert left_out == LeftOut(3, 11, 80)


def test_the_middle_cut_gives_up_a_first_turn_that_is_too_long() -> None:
    messages = [CountedMessage(*of) for of in (("user", 90), ("assistant", 5), ("user", 20))]

    assert choose_left_out(messages, 50, ContextOverflow.CUT_MIDDLE) == LeftOut(0, 2, 95)


def test_stop_leaves_nothing_out() -> None:
    assert choose_left_out(talk(10), 150, ContextOverflow.STOP) is None
    assert choose_left_out(talk(1), 150, ContextOverflow.STOP) == LeftOut(1, 1, 0)


@pytest.mark.parametrize(("max_tokens", "room"), [(100, 900), (5000, 750)])
def test_the_reply_gets_at_most_a_quarter_of_the_context(max_tokens: int, room: int) -> None:
    assert prompt_room(1000, max_tokens) == room
