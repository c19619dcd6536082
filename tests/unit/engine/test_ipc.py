import math

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.engine.contract import make_request
from webui.engine import ipc
from webui.engine.interface import (
    Embedded,
    EmbedRequest,
    Finish,
    FinishReason,
    Memory,
    ModelInfo,
    Pooling,
    Priority,
    Text,
    Timings,
    TokenLogprob,
    Usage,
    VectorPart,
)

INFO = ModelInfo(
    name="m",
    context_length=1,
    num_slots=1,
    num_threads=1,
    memory=Memory(weights_bytes=1, kv_bytes=2, compute_bytes=3),
)
TO_WORKER = [
    ipc.Load("id", "name", "/p", {"slots": 4, "x": [1, None, "ü"]}),
    ipc.Add(make_request("hi 🦀", stop=("a", "b"), temperature=0.5, continue_last=True)),
    ipc.Embed(
        EmbedRequest(
            request_id="e",
            owner="ann",
            priority=Priority.API,
            inputs=("a", "ü"),
            query="q",
            pooling=Pooling.RANK,
            normalise=False,
            truncate=True,
        )
    ),
    ipc.Add(
        make_request("", messages=(), plain_text="Once", logit_bias={5: -1.5}, banned_tokens=(7,))
    ),
    ipc.Abort("r1"),
    ipc.Expire(1_700_000_000_000_000_000),
    ipc.Quit(),
]
TO_PARENT = [
    ipc.LoadProgress(0.5),
    ipc.Loaded(INFO),
    ipc.LoadError("no", "try"),
    ipc.Outputs([ipc.Output("r", Text("ü", 1)), ipc.Output("s", Text("", 2))]),
    ipc.Outputs(
        [ipc.Output("r", Finish(FinishReason.STOP, Usage(1, 2, 0), Timings(0.0, 1.0, 2.0)))]
    ),
    ipc.Outputs([ipc.Output("e", VectorPart(1, b"\x00\xff")), ipc.Output("e", Embedded(7))]),
    ipc.Outputs(
        [
            ipc.Output(
                "r", Text("a", 1, (TokenLogprob(b"\xf0", -0.5, ((b"", -1.0), (b"b", -math.inf))),))
            )
        ]
    ),
    ipc.RequestError("r", "busy", "full", "wait", 1.5),
    ipc.Heartbeat(0.1),
]


def frame_of(value) -> bytes:
    body = msgspec.msgpack.encode(value)
    return len(body).to_bytes(4, "big") + body


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=8))
def test_messages_survive_any_split_of_the_stream(sizes):
    for messages, decoder in (
        (TO_WORKER, ipc.ToWorkerDecoder()),
        (TO_PARENT, ipc.ToParentDecoder()),
    ):
        stream, got, i = b"".join(map(ipc.encode, messages)), [], 0
        while stream:
            size = sizes[i % len(sizes)]
            got += decoder.feed(stream[:size])
            stream, i = stream[size:], i + 1
        assert got == messages


def test_frame_over_the_cap_is_refused_by_its_header_alone():
    for decoder in (ipc.ToWorkerDecoder(10), ipc.ToParentDecoder(10)):
        assert list(decoder.feed(b"\x00\x00\x00")) == []
        with pytest.raises(ipc.BadFrame, match="11 bytes"):
            list(decoder.feed(b"\x0b"))


@pytest.mark.parametrize(
    "value",
    [
        {"type": "exec", "code": "1"},
        {"type": "abort"},
        {"type": "abort", "request_id": 7},
        {"type": "abort", "request_id": "r", "more": 1},
        {"type": "outputs", "items": []},
        ["abort", "r"],
        None,
    ],
)
def test_worker_refuses_what_is_no_message_for_it(value):
    with pytest.raises(ipc.BadFrame):
        list(ipc.ToWorkerDecoder().feed(frame_of(value)))


@pytest.mark.parametrize(
    "value",
    [
        {"type": "quit"},
        {"type": "heartbeat", "busy_s": "long"},
        {"type": "outputs", "items": [["r", {"type": "text", "text": 1, "num_tokens": 1}]]},
        {"type": "outputs", "items": [["r", {"type": "unheard", "text": "x"}]]},
        {"type": "outputs", "items": [["r"]]},
    ],
)
def test_parent_refuses_what_is_no_message_for_it(value):
    with pytest.raises(ipc.BadFrame):
        list(ipc.ToParentDecoder().feed(frame_of(value)))


def test_garbage_is_refused():
    for decoder in (ipc.ToWorkerDecoder(), ipc.ToParentDecoder()):
        with pytest.raises(ipc.BadFrame):
            list(decoder.feed(b"\x00\x00\x00\x04\xc1\xff\x00\x01"))


def test_sampling_parameters_are_validated_again_by_the_worker():
    good = ipc.encode(ipc.Add(make_request("hi")))[4:]
    value = msgspec.msgpack.decode(good)
    for wrong in ({"temperature": float("nan")}, {"top_k": -1}, {"unknown": 1}):
        bad = value | {"request": value["request"] | {"params": wrong}}
        with pytest.raises(ipc.BadFrame, match="params"):
            list(ipc.ToWorkerDecoder().feed(frame_of(bad)))


def test_lone_surrogate_does_not_travel():
    with pytest.raises(UnicodeEncodeError):
        ipc.encode(ipc.Add(make_request("\ud800")))


def test_foreign_types_do_not_travel():
    with pytest.raises(NotImplementedError):
        ipc.encode(ipc.Load("i", "n", "p", {"x": object()}))
