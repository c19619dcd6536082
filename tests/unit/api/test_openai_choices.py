"""Log-probabilities, several replies and plain texts in the OpenAI dialect."""

from __future__ import annotations

import asyncio
import json
import math
from typing import Any

import pytest

from tests.unit.api.fakes import FINISH
from webui.api.openai.answers import usage
from webui.api.openai.fan import numbered
from webui.api.openai.sampler_fields import ALIASES
from webui.engine.interface import Finish, FinishReason, Text, Usage
from webui.engine.token_logprob import TokenLogprob
from webui.errors import EngineDied
from webui.messages import Message, Role
from webui.sampling_params import SAMPLER_ORDER, SamplingParams

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
HI = [{"role": "user", "content": "hi"}]
CRAB = "🦀".encode()
TOKENS = (
    TokenLogprob(b"Hel", -0.5, ((b"Hel", -0.5), (b"J", -math.inf))),
    TokenLogprob(CRAB[:2], -1.5, ((CRAB[:2], -1.5),)),
)
SCRIPT = [Text("Hel", 1, TOKENS[:1]), Text("", 1, TOKENS[1:]), FINISH]


async def _chat(client: Any, **body: Any) -> Any:
    return await client.post(CHAT, json={"messages": HI, **body})


async def _text(client: Any, **body: Any) -> Any:
    return await client.post(TEXT, json={"prompt": "Once", **body})


def _choices(text: str) -> list[Any]:
    blocks = [block.removeprefix("data: ") for block in text.split("\n\n") if block]
    assert blocks.pop() == "[DONE]"
    return [choice for block in blocks for choice in json.loads(block)["choices"]]


def _entry(data: bytes, logprob: float, *top: tuple[bytes, float]) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "token": data.decode("utf-8", "replace"),
        "logprob": logprob,
        "bytes": list(data),
    }
    return entry | ({"top_logprobs": [_entry(*one) for one in top]} if top else {})


LISTED = [
    _entry(b"Hel", -0.5, (b"Hel", -0.5), (b"J", -9999.0)),
    _entry(CRAB[:2], -1.5, (CRAB[:2], -1.5)),
]


async def test_log_probabilities_of_a_chat_are_listed_by_token(client, runtime) -> None:
    runtime.generations.script = SCRIPT
    answer = (await _chat(client, logprobs=True, top_logprobs=2)).json()
    assert answer["choices"][0]["logprobs"] == {"content": LISTED, "refusal": None}
    params = runtime.generations.asked[0][1]
    assert (params.logprobs, params.top_logprobs) == (True, 2)


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("n", [1, 2])
async def test_n_probs_of_a_text_are_told_as_llama_server_does(
    client, runtime, n, is_stream
) -> None:
    runtime.generations.script = SCRIPT
    answer = await _text(client, n_probs=2, n=n, stream=is_stream)
    params = runtime.generations.asked[0][1]
    assert (params.logprobs, params.top_logprobs) == (True, 2)
    choices = _choices(answer.text) if is_stream else answer.json()["choices"]
    for index in range(n):
        told = [one["logprobs"] for one in choices if one["index"] == index and one["logprobs"]]
        assert [entry for part in told for entry in part["content"]] == LISTED


@pytest.mark.parametrize("is_stream", [False, True])
async def test_tokens_stand_where_their_text_does(client, runtime, is_stream) -> None:
    pieces = [b"a", CRAB[:1], CRAB[1:3], CRAB[3:], b"b", b"\xff", b"c"]
    tokens = [TokenLogprob(piece, -1.0) for piece in pieces]
    texts = ["a", "", "", "🦀", "b", "�", "c"]
    runtime.generations.script = [
        *(Text(text, 1, (token,)) for text, token in zip(texts, tokens, strict=True)),
        FINISH,
    ]
    answer = await _text(client, logprobs=0, stream=is_stream)
    choices = _choices(answer.text) if is_stream else answer.json()["choices"]
    parts = [choice["logprobs"]["text_offset"] for choice in choices if choice["logprobs"]]
    assert [place for part in parts for place in part] == [0, 1, 1, 1, 2, 3, 4]


@pytest.mark.parametrize("body", [{}, {"n_probs": 0}, {"logprobs": None}, {"logprobs": False}])
async def test_text_without_log_probabilities_has_none(client, runtime, body) -> None:
    runtime.generations.script = [Text("Hello", 2), FINISH]
    answer = (await _text(client, **body)).json()
    assert answer["choices"][0]["logprobs"] is None
    assert not runtime.generations.asked[0][1].logprobs


async def test_log_probabilities_that_are_not_wanted_do_not_hide_n_probs(client, runtime) -> None:
    runtime.generations.script = SCRIPT
    answer = (await _text(client, logprobs=False, n_probs=2)).json()
    assert answer["choices"][0]["logprobs"]["content"] == LISTED


async def test_logprobs_of_openai_win_over_n_probs(client, runtime) -> None:
    runtime.generations.script = SCRIPT
    answer = (await _text(client, logprobs=1, n_probs=5)).json()
    assert runtime.generations.asked[0][1].top_logprobs == 1
    assert "token_logprobs" in answer["choices"][0]["logprobs"]


async def test_chunks_carry_the_log_probabilities_of_their_tokens(client, runtime) -> None:
    runtime.generations.script = SCRIPT
    answer = await _chat(client, logprobs=True, top_logprobs=2, stream=True)
    told = [(c["delta"], c["logprobs"]) for c in _choices(answer.text)]
    assert told == [
        ({"role": "assistant", "content": ""}, None),
        ({"content": "Hel"}, {"content": LISTED[:1], "refusal": None}),
        ({"content": ""}, {"content": LISTED[1:], "refusal": None}),
        ({}, None),
    ]


async def test_log_probabilities_of_a_text_are_parallel_lists(client, runtime) -> None:
    runtime.generations.script = [Text("Hello", 2, (TOKENS[0], TokenLogprob(b"lo", -0.1))), FINISH]
    answer = (await _text(client, logprobs=2)).json()
    assert answer["object"] == "text_completion"
    assert answer["id"].startswith("cmpl-")
    assert answer["choices"] == [
        {
            "index": 0,
            "text": "Hello",
            "logprobs": {
                "tokens": ["Hel", "lo"],
                "token_logprobs": [-0.5, -0.1],
                "top_logprobs": [{"Hel": -0.5, "J": -9999.0}, {}],
                "text_offset": [0, 3],
            },
            "finish_reason": "stop",
        }
    ]
    answer = await _text(client, logprobs=2, stream=True)
    assert _choices(answer.text)[0]["logprobs"]["text_offset"] == [0, 3]


async def test_text_goes_to_the_engine_as_it_is(client, runtime) -> None:
    answer = (await _text(client, temperature=0, echo=True)).json()
    messages, params, more = runtime.generations.asked[0]
    assert (messages, more["plain_text"], params.temperature) == ((), "Once", 0)
    assert not params.logprobs
    assert answer["choices"][0]["text"] == "OnceHello"
    told = _choices((await _text(client, echo=True, stream=True)).text)
    assert [choice["text"] for choice in told] == ["Once", "Hel", "lo", ""]
    assert [choice["finish_reason"] for choice in told] == [None, None, None, "stop"]


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        (CHAT, {"top_logprobs": 2}, "top_logprobs"),
        (CHAT, {"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        (CHAT, {"logprobs": 3}, "logprobs"),
        (CHAT, {"n": 9}, "n"),
        (CHAT, {"n": 0}, "n"),
        (CHAT, {"repetition_penalty": 99}, "repetition_penalty"),
        (CHAT, {"logit_bias": {"1": 101}}, "logit_bias.1"),
        (CHAT, {"logit_bias": [["Hello", 1]]}, "logit_bias"),
        (CHAT, {"logit_bias": [[5, True]]}, "logit_bias"),
        (CHAT, {"dry_sequence_breakers": [""]}, "dry_sequence_breakers.0"),
        (CHAT, {"continue_final_message": True}, "continue_final_message"),
        (TEXT, {"suffix": "end"}, "suffix"),
        (TEXT, {"logprobs": 21}, "logprobs"),
        (TEXT, {"echo": True, "logprobs": 0}, "echo"),
        (TEXT, {"prompt": ["a", 5]}, "prompt"),
        (TEXT, {"n_predict": -2}, "n_predict"),
        (TEXT, {"logprobs": True}, "logprobs"),
        (TEXT, {"top_logprobs": 2}, "top_logprobs"),
        (TEXT, {"n_probs": 21}, "n_probs"),
        (TEXT, {"n_probs": True}, "n_probs"),
        (TEXT, {"n_probs": ""}, "n_probs"),
        (TEXT, {"echo": True, "n_probs": 2}, "echo"),
        (TEXT, {"logprobs": 2, "post_sampling_probs": True}, "post_sampling_probs"),
        (CHAT, {"n_probs": 2, "post_sampling_probs": True}, "post_sampling_probs"),
        (CHAT, {"n_probs": -1}, "n_probs"),
        (CHAT, {"n_probs": 2.5}, "n_probs"),
        (CHAT, {"logprobs": True, "top_logprobs": True}, "top_logprobs"),
        (CHAT, {"n": True}, "n"),
        (CHAT, {"n": "2"}, "n"),
        (CHAT, {"temperature": True}, "temperature"),
        (CHAT, {"temperature": "0.5"}, "temperature"),
        (CHAT, {"top_k": True}, "top_k"),
        (CHAT, {"top_k": "5"}, "top_k"),
        (CHAT, {"top_k": 2.5}, "top_k"),
        (CHAT, {"seed": "7"}, "seed"),
        (CHAT, {"n_predict": False}, "n_predict"),
        (CHAT, {"ignore_eos": 1}, "ignore_eos"),
        (CHAT, {"ban_eos_token": "true"}, "ban_eos_token"),
        (CHAT, {"stop": [1]}, "stop.0"),
        (CHAT, {"top_n_sigma": -0.5}, "top_n_sigma"),
        (CHAT, {"top_n_sigma": -2}, "top_n_sigma"),
        (CHAT, {"adaptive_target": -0.01}, "adaptive_target"),
        (CHAT, {"top_k": -1}, "top_k"),
        (CHAT, {"xtc_threshold": 1.5}, "xtc_threshold"),
        (CHAT, {"banned_tokens": ["5"]}, "banned_tokens.0"),
        (CHAT, {"banned_tokens": [True]}, "banned_tokens.0"),
        (CHAT, {"custom_token_bans": "5,x"}, "custom_token_bans"),
        (CHAT, {"custom_token_bans": "-5"}, "custom_token_bans"),
        (CHAT, {"logit_bias": {"1": True}}, "logit_bias.1"),
        (CHAT, {"logit_bias": {"1": "2"}}, "logit_bias.1"),
        (CHAT, {"logit_bias": {"x": 2}}, "logit_bias.x"),
        (CHAT, {"logit_bias": [["5", False]]}, "logit_bias"),
        (CHAT, {"logit_bias": [[True, 1]]}, "logit_bias"),
        (CHAT, {"logit_bias": [[False, False]]}, "logit_bias"),
        (CHAT, {"sampler_order": ["top_k", "nonsense"]}, "sampler_order"),
        (CHAT, {"sampler_order": ["top_k", "top_k"]}, "sampler_order"),
        (CHAT, {"sampler_order": ["top_k", 5]}, "sampler_order"),
        (CHAT, {"sampler_order": 5}, "sampler_order"),
        (CHAT, {"samplers": ["temp", "temperature"]}, "samplers"),
        (CHAT, {"samplers": "tkz"}, "samplers"),
        (CHAT, {"sampler_priority": "top_k,nothing"}, "sampler_priority"),
        (
            CHAT,
            {"dynamic_temperature": 1, "dynatemp_low": 0, "dynatemp_high": 1},
            "dynamic_temperature",
        ),
        (CHAT, {"dynamic_temperature": True, "dynatemp_low": 1}, "dynatemp_high"),
        (
            CHAT,
            {"dynamic_temperature": True, "dynatemp_low": 1, "dynatemp_high": 0.5},
            "dynatemp_low",
        ),
        (
            CHAT,
            {"dynamic_temperature": True, "dynatemp_low": 3, "dynatemp_high": 4},
            "dynatemp_high",
        ),
        (CHAT, {"dynatemp_low": True}, "dynatemp_low"),
    ],
    ids=str,
)
async def test_wrong_wish_is_400_naming_the_field(client, runtime, path, body, param) -> None:
    about = {"messages": HI} if path == CHAT else {"prompt": "Once"}
    answer = await client.post(path, json=about | body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert runtime.generations.asked == []


NUMBERS = [
    name for name, field in SamplingParams.model_fields.items() if field.annotation in {int, float}
]


@pytest.mark.parametrize("path", [CHAT, TEXT])
@pytest.mark.parametrize(
    "value", ["NaN", "Infinity", "-Infinity", "1e999", "true", '"1"', "[]", "{}"]
)
async def test_what_is_no_number_is_refused_at_its_field(client, runtime, path, value) -> None:
    about = {"messages": HI} if path == CHAT else {"prompt": "Once"}
    for name in {*NUMBERS, *ALIASES} - {
        "samplers",
        "sampler_priority",
        "ban_eos_token",
        "custom_token_bans",
    }:
        raw = json.dumps(about)[:-1] + f', "{name}": {value}' + "}"
        answer = await client.post(path, content=raw, headers={"content-type": "application/json"})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, name), answer.text
    assert runtime.generations.asked == []


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"repetition_penalty": 1.2, "repetition_penalty_range": 5}, (1.2, 5)),
        ({"repeat_penalty": 1.1, "repetition_penalty": 1.2, "repeat_last_n": 0}, (1.1, 0)),
    ],
)
async def test_our_name_wins_over_those_of_others(client, runtime, body, expected) -> None:
    await _chat(client, **body)
    params = runtime.generations.asked[0][1]
    assert (params.repeat_penalty, params.repeat_last_n) == expected


@pytest.mark.parametrize(
    ("body", "name", "value"),
    [
        ({"n_predict": -1}, "max_tokens", 1_000_000),
        ({"max_new_tokens": 7}, "max_tokens", 7),
        ({"typ_p": 0.5}, "typical_p", 0.5),
        ({"top_n_sigma": -1}, "top_n_sigma", 0),
        ({"adaptive_target": -1.0}, "adaptive_target", 0),
        ({"mirostat_mode": 2}, "mirostat", 2),
        ({"ban_eos_token": True}, "ignore_eos", True),
        ({"custom_token_bans": "5, 7,"}, "banned_tokens", (5, 7)),
        ({"logit_bias": [[5, -1.5], [7, False]], "banned_tokens": [9]}, "banned_tokens", (9, 7)),
        ({"logit_bias": [[5, -1.5], [7, False]]}, "logit_bias", {5: -1.5}),
        ({"samplers": ["top_k", "typ_p", "infill", "temp"]}, "sampler_order", ("top_k", "typical_p", "temperature")),
        ({"sampler_priority": "presence_penalty\nrepetition_penalty\nmin_p"}, "sampler_order", ("penalties", "min_p")),
        ({"dynamic_temperature": True, "dynatemp_low": 0.5, "dynatemp_high": 1.5}, "dynatemp_range", 0.5),
        ({"dynamic_temperature": True, "dynatemp_low": 0.5, "dynatemp_high": 1.5}, "temperature", 1),
        ({"dry_sequence_breakers": ["x"]}, "dry_sequence_breakers", ("x",)),
        ({"n_probs": 3}, "top_logprobs", 3),
        ({"n_probs": 3, "logprobs": False}, "top_logprobs", 3),
        ({"n_probs": 0}, "logprobs", False),
        ({"n_probs": 3, "logprobs": True, "top_logprobs": 2}, "top_logprobs", 2),
        ({"top_k": 40.0}, "top_k", 40),
        ({"temperature": 1}, "temperature", 1),
        ({"repeat_last_n": -1}, "repeat_last_n", 1_000_000),
        ({"seed": 2**32 - 1}, "seed", -1),
        ({"seed": 2**32}, "seed", 1),
        ({"seed": 2**63 - 1}, "seed", (2**63 - 1) % (2**32 - 1)),
        ({"xtc_threshold": 1.0, "xtc_probability": 0.5}, "xtc_probability", 0),
        ({"xtc_threshold": 0.5, "xtc_probability": 0.5}, "xtc_probability", 0.5),
        ({"logit_bias": {"5": -1.5, "7": False}}, "banned_tokens", (7,)),
        ({"logit_bias": {"5": -1.5, "7": False}}, "logit_bias", {5: -1.5}),
        ({"samplers": "edskypmxt"}, "sampler_order", SAMPLER_ORDER),
        ({"samplers": "kfypmxt"}, "sampler_order", ("top_k", "typical_p", "top_p", "min_p", "xtc", "temperature")),
        ({"samplers": ["Top-K", "nucleus", "minp", "mirostat"]}, "sampler_order", ("top_k", "top_p", "min_p")),
        ({"sampler_priority": ["temperature", "dynamic_temperature", "quadratic_sampling"]}, "sampler_order", ("temperature",)),
        ({"sampler_order": []}, "sampler_order", ()),
    ],
    ids=str,
)  # fmt: skip
async def test_names_and_forms_of_other_servers(client, runtime, body, name, value) -> None:
    assert (await _chat(client, **body)).status_code == 200
    assert getattr(runtime.generations.asked[0][1], name) == value


async def test_reply_that_was_begun_is_gone_on_with(client, runtime) -> None:
    messages = [*HI, {"role": "assistant", "content": "Well,"}]
    for body in ({"continue_final_message": True}, {"continue_": True}, {}):
        await client.post(CHAT, json={"messages": messages, **body})
    assert runtime.generations.asked[0][0][-1] == Message(Role.ASSISTANT, "Well,")
    assert [more["continue_last"] for *_, more in runtime.generations.asked] == [True, True, False]


async def test_several_replies_have_seeds_and_numbers_of_their_own(client, runtime) -> None:
    answer = (await _chat(client, n=3, seed=2**32 - 2)).json()
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    assert {choice["message"]["content"] for choice in answer["choices"]} == {"Hello"}
    assert answer["usage"]["prompt_tokens"] == 5
    assert answer["usage"]["completion_tokens"] == 6
    assert [asked[1].seed for asked in runtime.generations.asked] == [2**32 - 2, 0, 1]


async def test_chunks_of_several_replies_say_whose_they_are(client) -> None:
    answer = await _chat(client, n=2, stream=True)
    choices = _choices(answer.text)
    for index in range(2):
        own = [choice for choice in choices if choice["index"] == index]
        assert "".join(choice["delta"].get("content", "") for choice in own) == "Hello"
        assert [choice["finish_reason"] for choice in own][-2:] == [None, "stop"]


async def _say(*steps: Any, closed: list[str] | None = None, name: str = "") -> Any:
    try:
        for step in steps:
            if isinstance(step, Exception):
                raise step
            if isinstance(step, asyncio.Event):
                await step.wait()
            else:
                yield step
    finally:
        if closed is not None:
            closed.append(name)


async def test_replies_are_told_as_they_come() -> None:
    second = asyncio.Event()
    slow, quick = _say(second, Text("a", 1)), _say(Text("b", 1), Text("c", 1))
    told = []
    async for index, delta in numbered([slow, quick]):
        told.append((index, delta.text))
        if delta.text == "c":
            second.set()
    assert told == [(1, "b"), (1, "c"), (0, "a")]


async def test_failure_of_one_reply_ends_all() -> None:
    closed: list[str] = []
    endless = _say(Text("a", 1), asyncio.Event(), closed=closed, name="endless")
    broken = _say(Text("b", 1), EngineDied("gone"), closed=closed, name="broken")
    with pytest.raises(EngineDied):
        async for _ in numbered([endless, broken]):
            pass
    assert sorted(closed) == ["broken", "endless"]


async def test_closing_ends_all_replies() -> None:
    closed: list[str] = []
    replies = [
        _say(Text(name, 1), asyncio.Event(), closed=closed, name=name) for name in ("a", "b", "c")
    ]
    deltas = numbered(replies)
    await anext(deltas)
    await deltas.aclose()
    assert sorted(closed) == ["a", "b", "c"]


async def test_reply_without_an_end_among_several_is_an_error(client, runtime) -> None:
    runtime.generations.script = [Text("He", 1)]
    assert (await _chat(client, n=2)).status_code == 500
    assert "engine_error" in (await _chat(client, n=2, stream=True)).text


async def test_tokens_of_all_replies_are_counted_once_the_last_has_ended(client, runtime) -> None:
    usage = Usage(5, 2, 3)
    runtime.generations.script = [Finish(FinishReason.LENGTH, usage, FINISH.timings)]
    answer = await _chat(client, n=2, stream=True, stream_options={"include_usage": True})
    last = json.loads(answer.text.split("\n\n")[-3].removeprefix("data: "))
    assert last["usage"]["completion_tokens"] == 4


@pytest.mark.parametrize(
    ("cached", "num_each", "told"),
    [([0, 90, 90], 3, 0), ([90, 0, 90], 3, 0), ([40, 90, 0, 90], 2, 40), ([40, 90], 1, 130)],
)
def test_what_one_of_several_replies_had_read_is_not_cached(cached, num_each, told) -> None:
    finishes = [Finish(FinishReason.STOP, Usage(100, 2, num), FINISH.timings) for num in cached]
    counts = usage(finishes, num_each)
    assert counts["prompt_tokens"] == 100 * len(cached) // num_each
    assert counts["prompt_tokens_details"] == {"cached_tokens": told}


@pytest.mark.parametrize("prompt", ["Once", ["Once"]])
async def test_text_may_come_in_a_list(client, runtime, prompt) -> None:
    runtime.generations.script = [FINISH]
    reply = await _text(client, prompt=prompt, echo=True)
    assert reply.json()["choices"][0]["text"] == "Once"
    assert runtime.generations.asked[-1][2]["plain_text"] == "Once"


@pytest.mark.parametrize("prompt", [[], ["Once", 2], [1, 2], [[1, 2]]])
async def test_other_lists_of_prompts_are_refused(client, runtime, prompt) -> None:
    reply = await _text(client, prompt=prompt)
    assert reply.status_code == 400
    assert "prompt" in reply.json()["error"]["message"]


@pytest.mark.parametrize(("choice", "status"), [("auto", 400), (None, 400), ("none", 200)])
async def test_tools_pass_where_none_is_to_be_called(client, runtime, choice, status) -> None:
    runtime.generations.script = [FINISH]
    reply = await _chat(client, tools=[{"type": "function"}], tool_choice=choice)
    assert reply.status_code == status


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "f"}}, 7])
async def test_tools_that_must_be_called_are_refused(client, runtime, choice) -> None:
    reply = await _chat(client, tool_choice=choice)
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == "tool_choice"
