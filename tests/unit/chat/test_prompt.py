from dataclasses import dataclass

import pytest

from webui.chat.prompt import (
    SharedHead,
    api_prompt,
    build_continuation,
    build_prompt,
    engine_params,
    joined,
    shared_head,
    sources,
)
from webui.messages import Message, Role
from webui.sampling_params import SamplingParams


@dataclass
class Row:
    role: str
    text: str
    reasoning: str = ""
    id: str = ""


def said(prompt):
    return [(m.role.value, m.text) for m in prompt]


def test_prompt_system_prompt_comes_first_and_reasoning_stays_home():
    path = [Row("user", "a"), Row("assistant", "b", "thought"), Row("user", "c")]
    assert said(build_prompt(path, "be kind")) == [
        ("system", "be kind"),
        ("user", "a"),
        ("assistant", "b"),
        ("user", "c"),
    ]


def test_prompt_empty_reply_is_left_out_and_neighbours_are_joined():
    path = [Row("user", "a"), Row("assistant", " ", "only thought"), Row("user", "b")]
    assert said(build_prompt(path, "  ")) == [("user", "a\n\nb")]


def test_prompt_text_is_sent_verbatim():
    text = "  <|im_start|>system\n"
    assert said(build_prompt([Row("user", text)], "")) == [("user", text)]


def test_continuation_ends_with_the_reply_without_trailing_space():
    path = [Row("user", "a"), Row("assistant", "b c \n")]
    assert said(build_continuation(path, ""))[-1] == ("assistant", "b c")


def test_continuation_keeps_the_reply_apart_from_a_reply_before_it():
    path = [Row("assistant", "greeting"), Row("user", " "), Row("assistant", "so far")]
    assert said(build_continuation(path, ""))[-1] == ("assistant", "so far")


def test_continuation_of_reasoning_leaves_the_mark_open():
    path = [Row("user", "a"), Row("assistant", "", "hm")]
    assert said(build_continuation(path, ""))[-1] == ("assistant", "<think>\nhm")


def test_continuation_of_an_answer_with_reasoning_has_both():
    path = [Row("user", "a"), Row("assistant", "b", "hm")]
    assert said(build_continuation(path, ""))[-1] == (
        "assistant",
        "<think>\nhm\n</think>\n\nb",
    )


def test_api_prompt_own_system_message_wins():
    own = [Message(Role.SYSTEM, "x"), Message(Role.USER, "a")]
    assert api_prompt(own, "y") == tuple(own)
    assert said(api_prompt(own[1:], "y")) == [("system", "y"), ("user", "a")]
    assert api_prompt(own[1:], "") == tuple(own[1:])


def test_engine_params_have_no_system_prompt():
    params = SamplingParams(system_prompt="x", temperature=0.1)
    assert engine_params(params) == SamplingParams(temperature=0.1)


def test_each_message_of_a_prompt_knows_what_it_was_made_of():
    path = [
        Row("user", "a", id="1"),
        Row("assistant", " ", id="2"),
        Row("user", "b", id="3"),
        Row("assistant", "c", id="4"),
    ]
    assert len(build_prompt(path, "be kind")) == 3
    assert sources(path, "be kind") == ((), ("1", "3"), ("4",))
    assert sources(path, "") == (("1", "3"), ("4",))


def test_administrators_words_come_before_ones_own_in_one_message():
    assert joined("be brief", "be kind") == "be brief\n\nbe kind"
    assert joined("be brief", " \n") == "be brief"
    assert joined("", "be kind") == "be kind"
    assert joined("", "") == ""


QUESTION = Message(Role.USER, "a")


@pytest.mark.parametrize(
    ("own", "shared"),
    [("", SharedHead(num_messages=1)), ("be kind", SharedHead(num_chars=8))],
)
def test_shared_is_what_the_administrator_said_and_no_more(own, shared):
    prompt = build_prompt([Row("user", "a")], joined("be brief", own))
    assert shared_head(prompt, "be brief") == shared
    assert shared_head(api_prompt([QUESTION], joined("be brief", own)), "be brief") == shared


@pytest.mark.parametrize(
    ("prompt", "server_prompt"),
    [
        ((), "be brief"),
        ((QUESTION,), "be brief"),
        ((QUESTION,), "a"),
        ((Message(Role.SYSTEM, "be kind"), QUESTION), "be brief"),
        ((Message(Role.SYSTEM, "be kind"), QUESTION), ""),
        ((Message(Role.SYSTEM, "be"), QUESTION), "be brief"),
    ],
)
def test_nothing_is_shared_of_what_does_not_begin_with_the_administrators_words(
    prompt, server_prompt
):
    assert shared_head(prompt, server_prompt) == SharedHead()


def test_system_words_of_a_saved_message_are_not_the_administrators():
    """They are joined to them, for neighbours of one role are; no face saves any today."""
    prompt = build_prompt([Row("system", "secret"), Row("user", "a")], "be brief")
    assert said(prompt)[0] == ("system", "be brief\n\nsecret")
    assert shared_head(prompt, "be brief") == SharedHead(num_chars=8)
