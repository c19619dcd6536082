import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.engine.contract import make_request
from tests.unit.engine.fake_runner import FakeOptions, FakeRunner
from webui.engine.interface import Trimmed
from webui.engine.prompt import PromptMaker
from webui.engine.prompt_cut import trimmed
from webui.engine.text_length import COUNTED_CHARS
from webui.errors import ContextLengthExceeded
from webui.messages import Message, Role

CUTTING = ["drop_oldest", "cut_middle"]


def talk(num_turns, size=20, system="Be kind."):
    said = [Message(Role.SYSTEM, system)] if system else []
    for turn in range(num_turns):
        said.append(Message(Role.USER, f"{turn} " + "q" * size))
        said.append(Message(Role.ASSISTANT, f"{turn} " + "a" * size))
    return (*said, Message(Role.USER, "the last question"))


def cut(messages, policy, context_length=400, max_tokens=50, **fields):
    """Return the request as it is sent on, its prompt as text, and what is told of the cut."""
    maker = PromptMaker(FakeRunner(FakeOptions(context_length=context_length)))
    request = make_request(
        "", messages=messages, context_overflow=policy, max_tokens=max_tokens, **fields
    )
    made, prompt = maker.make(request)
    assert len(prompt) <= context_length
    return made, bytes(prompt[1:]).decode(), trimmed(request, made)


@pytest.mark.parametrize("policy", ["stop", *CUTTING])
def test_conversation_that_fits_is_sent_whole(policy):
    made, _, told = cut(talk(4), policy)
    assert made.messages == talk(4)
    assert told is None


def test_long_conversation_is_refused_with_the_choice_unless_a_cut_is_wished():
    with pytest.raises(ContextLengthExceeded) as caught:
        cut(talk(40), "stop")
    assert "400" in caught.value.message
    assert "When the context is full" in caught.value.hint


@pytest.mark.parametrize("policy", CUTTING)
def test_system_prompt_and_last_question_stay_and_room_for_the_reply_is_left(policy):
    made, text, told = cut(talk(40), policy)
    assert text.startswith("system: Be kind.\n")
    assert text.endswith("user: the last question\nassistant: ")
    assert len(text) + 1 <= 400 - 50
    assert len(text) > 200, "no more is left out than a quarter too much"
    assert told.num_messages == 82 - len(made.messages)
    assert told.num_messages % 2 == 0, "turns go whole"


def test_oldest_turns_go_first_or_after_the_first():
    _, oldest, told = cut(talk(40), "drop_oldest")
    assert "user: 0 q" not in oldest
    assert "user: 39 q" in oldest
    assert told.first == 1
    _, middle, told = cut(talk(40), "cut_middle")
    assert "user: 0 q" in middle
    assert "user: 39 q" in middle
    assert told.first == 3


@pytest.mark.parametrize("policy", CUTTING)
def test_next_turn_mostly_begins_with_what_was_sent_before(policy):
    last = len("user: the last question\nassistant: ")
    texts = [cut(talk(num, size=1), policy)[1] for num in range(20, 60)]
    kept = [after.startswith(before[:-last]) for before, after in pairwise(texts)]
    assert sum(kept) >= len(kept) / 2


@pytest.mark.parametrize("policy", CUTTING)
def test_question_that_is_too_long_by_itself_is_refused(policy):
    messages = (*talk(3), Message(Role.ASSISTANT, "ok"), Message(Role.USER, "q" * 500))
    with pytest.raises(ContextLengthExceeded, match=r"last message .* have 5\d\d tokens.* 400"):
        cut(messages, policy)


@pytest.mark.parametrize("policy", CUTTING)
def test_question_that_leaves_little_room_is_answered_shortly(policy):
    messages = (*talk(10)[:-1], Message(Role.USER, "q" * 320))
    made, text, told = cut(messages, policy, max_tokens=200)
    assert "q" * 320 in text
    assert len(text) > 300
    assert told is not None
    assert len(made.messages) < len(messages)


def test_nothing_of_a_person_counts_as_the_administrators_after_a_cut():
    messages = (Message(Role.SYSTEM, "Be kind."), Message(Role.USER, "Hello!"), *talk(30)[1:])
    made, _, told = cut(messages, "drop_oldest", num_shared_messages=2)
    assert told.first == 1
    assert made.num_shared_messages == 1


@pytest.mark.parametrize(("system", "num_chars"), [("Be kind.\n\nOwn words", 8), ("", 0)])
def test_beginning_of_a_message_is_the_administrators_as_long_as_the_message_is_sent(
    system, num_chars
):
    made, _, told = cut(talk(40, system=system), "drop_oldest", num_shared_chars=8)
    assert told is not None
    assert made.num_shared_chars == num_chars


@pytest.mark.parametrize("policy", ["stop", *CUTTING])
def test_refusal_names_the_server_prompt_where_that_takes_much(policy):
    for size, is_named in ((20, False), (450, True)):
        messages = talk(0, system="s" * size + " own" * 100)
        with pytest.raises(ContextLengthExceeded) as caught:
            cut(messages, policy, num_shared_chars=size)
        assert ("shorten the server prompt" in caught.value.hint) is is_named


def test_trimmed_tells_where_messages_are_missing():
    request = make_request("", messages=talk(3))
    assert trimmed(request, request) is None
    made = make_request("", messages=request.messages[:1] + request.messages[5:])
    assert trimmed(request, made) == Trimmed(4, 1)


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=20),
    st.integers(0, 30),
    st.sampled_from(CUTTING),
    st.integers(1, 300),
)
def test_any_conversation_is_cut_to_fit_or_refused(turns, system, policy, max_tokens):
    messages = [Message(Role.SYSTEM, "s" * system)] if system else []
    for asked, answered in turns:
        messages += [Message(Role.USER, "q" * asked), Message(Role.ASSISTANT, "a" * answered)]
    messages.append(Message(Role.USER, "last"))
    made, text, told = cut(tuple(messages), policy, context_length=200, max_tokens=max_tokens)
    assert "user: last" in text
    kept = list(made.messages)
    if told is not None:
        gone = messages[told.first : told.first + told.num_messages]
        assert messages == kept[: told.first] + gone + kept[told.first :]
    else:
        assert kept == messages


def cut_short(num_turns, num_chars):
    """Return a conversation whose last reply is to be written on."""
    return (*talk(num_turns), Message(Role.ASSISTANT, "r" * num_chars))


@pytest.mark.parametrize("policy", CUTTING)
def test_conversation_that_leaves_no_room_for_a_reply_is_cut_though_it_fits(policy):
    whole = talk(6, size=20)
    num_tokens = len(cut(whole, "stop", context_length=1000)[1]) + 1
    _, text, told = cut(whole, policy, context_length=num_tokens + 10)
    assert told is not None
    assert len(text) + 1 <= num_tokens + 10 - 50
    short = num_tokens + 10, 5  # a reply of five tokens at most has room
    assert cut(whole, policy, *short)[2] is None


@pytest.mark.parametrize("policy", CUTTING)
def test_reply_that_filled_the_context_goes_on_without_older_turns(policy):
    whole = cut_short(4, 60)
    num_tokens = len(cut(whole, "stop", context_length=1000, continue_last=True)[1]) + 1
    _, text, told = cut(whole, policy, context_length=num_tokens, continue_last=True)
    assert told is not None
    assert text.endswith("user: the last question\nassistant: " + "r" * 60)
    assert len(text) + 1 <= num_tokens - 50


@pytest.mark.parametrize("policy", CUTTING)
def test_reply_that_fills_the_context_by_itself_is_not_written_on_word_by_word(policy):
    whole = cut_short(2, 345)
    with pytest.raises(ContextLengthExceeded, match=r"reply so far alone have 39\d .* 400") as told:
        cut(whole, policy, continue_last=True)
    assert "new conversation" in told.value.hint


def test_reply_that_fills_the_context_goes_on_where_the_context_is_shifted():
    whole = cut_short(0, 345)
    num_tokens = len(cut(whole, "stop", context_length=1000, continue_last=True)[1]) + 1
    made, _, told = cut(whole, "shift", context_length=num_tokens, continue_last=True)
    assert (made.messages, told) == (whole, None)


class Counting(FakeRunner):
    """Counts what it tokenises; a run of spaces is one token."""

    num_chars = 0

    def tokenize(self, text, *, special):
        self.num_chars += len(text)
        return list(re.sub(" +", " ", text).encode())


HUGE = "a" * 3_900_000
HI = Message(Role.USER, "hi")
SAID = Message(Role.ASSISTANT, "x")


@pytest.mark.parametrize("policy", [*CUTTING, "shift"])
@pytest.mark.parametrize(
    "messages",
    [
        (Message(Role.SYSTEM, HUGE), HI, SAID, HI),
        (*[Message(Role.SYSTEM, HUGE[:39_000])] * 100, HI, SAID, HI),
        (HI, SAID, Message(Role.USER, HUGE)),
        (HI, SAID, HI, *[Message(Role.ASSISTANT, HUGE[:39_000])] * 100),
    ],
    ids=["system", "systems", "question", "behind the question"],
)
def test_what_no_cut_helps_is_refused_by_its_beginning(messages, policy):
    runner = Counting(FakeOptions(context_length=400))
    request = make_request("", messages=messages, context_overflow=policy)
    with pytest.raises(ContextLengthExceeded, match=r"alone have at least \d+ tokens.* holds 400"):
        PromptMaker(runner).make(request)
    assert runner.num_chars <= 1.2 * COUNTED_CHARS


@pytest.mark.parametrize("policy", CUTTING)
@pytest.mark.parametrize("role", [Role.USER, Role.ASSISTANT, Role.SYSTEM])
def test_what_is_left_out_in_any_case_is_not_tokenised(policy, role):
    runner = Counting(FakeOptions(context_length=400))
    messages = (HI, SAID, HI, Message(role, HUGE), HI, SAID, Message(Role.USER, "last"))
    request = make_request("", messages=messages, context_overflow=policy, max_tokens=50)
    made, _ = PromptMaker(runner).make(request)
    assert made.messages[-1].text == "last"
    assert all(len(message.text) < 10 for message in made.messages)
    assert runner.num_chars <= COUNTED_CHARS


def test_long_text_that_fits_is_tokenised_once_however_often_it_is_rendered():
    runner = Counting(FakeOptions(context_length=400))
    wide = Message(Role.USER, "b" + " " * 1_000_000)
    messages = (*talk(40)[:-1], wide)
    request = make_request("", messages=messages, context_overflow="drop_oldest", max_tokens=50)
    maker = PromptMaker(runner)
    made, _ = maker.make(request)
    assert made.messages[-1] == wide
    assert len(made.messages) < len(messages)
    assert runner.num_chars <= 4 * len(wide.text)
    maker.forget()
    assert not maker._length._known


def test_place_of_the_cut_stays_though_old_texts_are_guessed():
    """A guess that grew by a message at every turn would move it every time."""
    runner = Counting(FakeOptions(context_length=4000))
    maker = PromptMaker(runner)
    turn = (Message(Role.USER, "q" * 30), Message(Role.ASSISTANT, "a" * 30))
    messages = turn * 5000
    firsts = []
    for num in range(40):
        said = (*messages, *turn * num, HI)
        made, _ = maker.make(
            make_request("", messages=said, context_overflow="drop_oldest", max_tokens=50)
        )
        firsts.append(len(said) - len(made.messages))
    stays = [one == other for one, other in pairwise(firsts)]
    assert sum(stays) >= 0.8 * len(stays)
