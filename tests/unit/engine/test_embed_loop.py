from __future__ import annotations

from array import array
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.engine.fake_embedder import FakeEmbedder, vector_of
from webui.engine import ipc
from webui.engine.embed_loop import MAX_PART_BYTES, EmbedLoop
from webui.engine.embedder import TextsRead
from webui.engine.interface import Embedded, EmbedRequest, Pooling, Priority, VectorPart
from webui.engine.ipc import Begun
from webui.engine.mail import Aborted, Refused, TextsAnnounced, TextsPrepared
from webui.errors import InvalidRequest

_numbers = count()


def request_of(*inputs: str, owner="ann", **fields) -> EmbedRequest:
    defaults = {"request_id": f"e{next(_numbers)}", "priority": Priority.API}
    return EmbedRequest(inputs=inputs, owner=owner, **(defaults | fields))


def give(loop: EmbedLoop, request: EmbedRequest) -> list[object]:
    texts = [FakeEmbedder().tokenize_text(text, None) for text in request.inputs]
    assert loop.take(TextsAnnounced(request.request_id)) == []
    return loop.take(TextsPrepared(request, texts))


def run(loop: EmbedLoop, **limits) -> tuple[dict[str, list[bytes]], dict[str, object]]:
    """Step to the end; return the vectors and the last word of each request."""
    vectors: dict[str, dict[int, bytes]] = {}
    ends: dict[str, object] = {}
    while loop.has_work:
        for message in loop.step(**limits):
            if isinstance(message, ipc.RequestError):
                ends.setdefault(message.request_id, message)
                continue
            for output in message.items:
                if isinstance(output.delta, VectorPart):
                    mine = vectors.setdefault(output.request_id, {})
                    old = mine.get(output.delta.input_index, b"")
                    mine[output.delta.input_index] = old + output.delta.data
                else:
                    ends.setdefault(output.request_id, output.delta)
    return {name: [v[i] for i in sorted(v)] for name, v in vectors.items()}, ends


def test_vectors_come_in_order_and_the_tokens_are_counted():
    embedder = FakeEmbedder()
    loop = EmbedLoop(embedder)
    request = request_of("a", "bc", "def", "ghij", "k")
    assert give(loop, request) == []
    vectors, ends = run(loop)
    expected = [vector_of(embedder.tokenize_text(text, None)) for text in request.inputs]
    assert vectors[request.request_id] == expected
    assert ends[request.request_id] == Embedded(11 + 5)
    assert embedder.batches == [["a", "bc", "def", "ghij"], ["k"]], "full batches"


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from("abc"),
            st.lists(st.text("xyz", max_size=31), min_size=1, max_size=6),
            st.sampled_from([None, Pooling.MEAN, Pooling.NONE]),
        ),
        max_size=8,
    ),
    st.one_of(st.none(), st.integers(1, 64)),
    st.booleans(),
)
def test_batched_is_as_one_at_a_time(orders, max_tokens, has_parts):
    embedder = FakeEmbedder(has_parts=has_parts)
    loop = EmbedLoop(embedder)
    requests = [request_of(*texts, owner=owner, pooling=p) for owner, texts, p in orders]
    for request in requests:
        give(loop, request)
    vectors, ends = run(loop, max_tokens=max_tokens)
    for request in requests:
        tokens = [embedder.tokenize_text(text, None) for text in request.inputs]
        assert vectors[request.request_id] == [vector_of(t, request.pooling) for t in tokens]
        assert ends[request.request_id] == Embedded(sum(map(len, tokens)))
    if has_parts and max_tokens is not None:
        assert all(num <= max_tokens for num in embedder.reads)


def test_long_text_is_read_in_parts_and_no_other_meanwhile():
    embedder = FakeEmbedder(has_parts=True)
    loop = EmbedLoop(embedder)
    give(loop, request_of("a" * 20, owner="ann"))
    assert loop.step(8) == []
    assert loop.num_read == 8
    give(loop, request_of("b", owner="bob", priority=Priority.CHAT))
    assert loop.step(8) == []
    assert len(loop.step(8)) == 1
    assert loop.num_read == 5
    loop.step(8)
    assert embedder.batches == [["a" * 20], ["b"]]


def test_batch_that_only_aborted_requests_wait_for_is_not_read_on():
    embedder = FakeEmbedder(has_parts=True)
    loop = EmbedLoop(embedder)
    gone, kept = request_of("a" * 10, owner="ann"), request_of("b" * 10, owner="bob")
    give(loop, gone)
    loop.step(8)
    loop.take(Aborted(gone.request_id))
    assert not loop.has_work
    give(loop, kept)
    vectors, _ = run(loop, max_tokens=8)
    assert list(vectors) == [kept.request_id]
    assert embedder.reads == [8, 8, 3]


def test_texts_of_a_failed_batch_are_read_in_steps_of_their_own():
    embedder = FakeEmbedder(has_parts=True)
    loop = EmbedLoop(embedder)
    requests = [request_of(text, owner=text) for text in ("a", "!", "c")]
    for request in requests:
        give(loop, request)
    assert loop.step() == []
    loop.take(Aborted(requests[2].request_id))
    assert [len(loop.step()) for _ in range(2)] == [1, 1]
    assert not loop.has_work
    assert embedder.batches == [["a", "!", "c"], ["a"], ["!"]]


def test_one_text_left_of_a_failed_batch_is_read_again_alone():
    embedder = FakeEmbedder(has_parts=True)
    loop = EmbedLoop(embedder)
    good, bad = request_of("a" * 5, owner="ann"), request_of("!" * 5, owner="bob")
    real, embedder.read = embedder.read, lambda _max: TextsRead(1, None)
    give(loop, good)
    give(loop, bad)
    loop.step()
    loop.take(Aborted(bad.request_id))
    embedder.read = real
    vectors, ends = run(loop)
    assert len(vectors[good.request_id]) == 1
    assert bad.request_id not in ends


def test_request_is_told_as_begun_once_and_before_its_texts_are_read():
    embedder = FakeEmbedder()
    told = []
    loop = EmbedLoop(embedder, tell=lambda begun: told.append((begun, len(embedder.batches))))
    request = request_of(*"abcdefgh", owner="ann")
    give(loop, request)
    assert told == []
    run(loop)
    assert len(embedder.batches) > 1
    assert told == [(Begun([request.request_id]), 0)]


def test_owners_take_turns_text_by_text():
    embedder = FakeEmbedder()
    loop = EmbedLoop(embedder)
    give(loop, request_of(*"abcdefgh", owner="ann"))
    loop.step()
    give(loop, request_of("x", "y", owner="bob"))
    loop.step()
    assert embedder.batches[1] == ["x", "e", "y", "f"]


def test_urgent_requests_go_first():
    embedder = FakeEmbedder()
    loop = EmbedLoop(embedder)
    give(loop, request_of(*"abcd", owner="ann", priority=Priority.BACKGROUND))
    give(loop, request_of(*"wxyz", owner="ann", priority=Priority.CHAT))
    give(loop, request_of(*"ABCD", owner="bob", priority=Priority.API))
    run(loop)
    assert ["".join(batch) for batch in embedder.batches] == ["wxyz", "ABCD", "abcd"]


def test_a_small_budget_makes_small_batches_but_never_none():
    embedder = FakeEmbedder()
    loop = EmbedLoop(embedder)
    give(loop, request_of("a" * 20, "b", "c", "d"))
    run(loop, max_tokens=4)
    assert [len(batch) for batch in embedder.batches] == [1, 2, 1]


def test_only_the_bad_text_fails_its_request():
    loop = EmbedLoop(FakeEmbedder())
    good, bad = request_of("a", "b", owner="ann"), request_of("c", "!", owner="bob")
    give(loop, good)
    give(loop, bad)
    vectors, ends = run(loop)
    assert len(vectors[good.request_id]) == 2
    assert ends[good.request_id] == Embedded(4)
    assert ends[bad.request_id].message == "The batch failed"


def test_aborted_requests_are_not_computed():
    embedder = FakeEmbedder()
    loop = EmbedLoop(embedder)
    request = request_of(*"abcdefgh")
    give(loop, request)
    loop.step()
    loop.take(Aborted(request.request_id))
    assert not loop.has_work
    late = request_of("z")
    loop.take(TextsAnnounced(late.request_id))
    loop.take(Aborted(late.request_id))
    assert loop.take(TextsPrepared(late, [[1]])) == []
    assert not loop.has_work


def test_refused_requests_are_told_once():
    loop = EmbedLoop(FakeEmbedder())
    loop.take(TextsAnnounced("r"))
    refused = Refused("r", InvalidRequest("no", "try"))
    assert loop.take(refused) == [ipc.RequestError("r", "invalid_request", "no", "try")]
    assert loop.take(refused) == []


def test_full_queue_refuses_a_second_request_but_no_first():
    loop = EmbedLoop(FakeEmbedder(), max_waiting_tokens=20)
    assert give(loop, request_of("a" * 15, owner="ann")) == []
    (error,) = give(loop, request_of("a", owner="ann"))
    assert (error.code, error.retry_after_s) == ("busy", 1.0)
    assert give(loop, request_of("b" * 15, owner="bob")) == []
    (error,) = give(loop, request_of("c", owner="cyd"))
    assert "32 tokens" in error.message
    run(loop)
    assert give(loop, request_of("a", owner="ann")) == []


def test_large_vectors_travel_in_parts():
    class Large(FakeEmbedder):
        def read(self, max_tokens):
            return TextsRead(4, [bytes([i]) * (MAX_PART_BYTES + 5) for i in range(2)])

    loop = EmbedLoop(Large())
    request = request_of("a", "b")
    give(loop, request)
    messages = loop.step()
    assert all(len(ipc.encode(message)) < 2 * MAX_PART_BYTES for message in messages)
    for message in messages:
        assert list(ipc.ToParentDecoder().feed(ipc.encode(message))) == [message]
    sizes = [
        len(output.delta.data)
        for message in messages
        for output in message.items
        if isinstance(output.delta, VectorPart)
    ]
    assert sizes == [MAX_PART_BYTES, 5] * 2


@pytest.mark.parametrize("pooling", [None, Pooling.CLS])
def test_batch_has_one_pooling(pooling):
    embedder = FakeEmbedder()
    loop = EmbedLoop(embedder)
    give(loop, request_of("a", "b", owner="ann", pooling=Pooling.MEAN))
    give(loop, request_of("c", "d", owner="bob", pooling=pooling))
    run(loop)
    assert embedder.batches == [["a", "b"], ["c", "d"]]


def test_numbers_are_float32():
    assert len(vector_of([1, 2])) == 2 * array("f").itemsize


def test_text_longer_than_a_batch_is_read_alone_and_in_parts():
    embedder = FakeEmbedder(has_parts=True)
    embedder.max_text_tokens = 100
    loop = EmbedLoop(embedder)
    long, short = request_of("a" * 99, owner="ann"), request_of("b", owner="bob")
    give(loop, long)
    give(loop, short)
    vectors, _ = run(loop, max_tokens=48)
    assert embedder.batches == [["a" * 99], ["b"]]
    assert embedder.reads == [48, 48, 4, 2]
    tokens = embedder.tokenize_text("a" * 99, None)
    assert vectors[long.request_id] == [vector_of(tokens)]


def test_full_queue_says_how_long_texts_took_so_far():
    now_s = 0.0

    def read(max_tokens):
        nonlocal now_s
        now_s += 8.0
        return real(max_tokens)

    embedder = FakeEmbedder()
    real, embedder.read = embedder.read, read
    loop = EmbedLoop(embedder, max_waiting_tokens=40, clock=lambda: now_s)
    give(loop, request_of("z" * 15, owner="ann"))
    run(loop)  # 16 tokens in 8 s
    give(loop, request_of("a" * 15, owner="ann"))
    (mine,) = give(loop, request_of("b" * 11, owner="ann"))
    assert mine.retry_after_s == 4.0, "8 tokens too many"
    assert mine.hint == "Try again when some of them are done, in about 4 s."
    assert "Your part" in mine.message
    give(loop, request_of("c" * 30, owner="bob"))
    (mine,) = give(loop, request_of("b" * 11, owner="ann"))
    assert mine.retry_after_s == 8.0, "bob has every other turn"
    (all_full,) = give(loop, request_of("d", owner="cyd"))
    assert all_full.retry_after_s == 3.5, "7 tokens too many"
