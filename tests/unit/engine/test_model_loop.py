from __future__ import annotations

from tests.unit.engine.contract import make_request
from tests.unit.engine.fake_embedder import FakeEmbedder
from tests.unit.engine.fake_runner import FakeRunner
from tests.unit.engine.test_embed_loop import request_of
from webui.engine import ipc
from webui.engine.embed_loop import EmbedLoop
from webui.engine.generation_loop import GenerationLoop
from webui.engine.interface import Embedded, Finish, Text, VectorPart
from webui.engine.mail import (
    Aborted,
    Announced,
    Prepared,
    Refused,
    TextsAnnounced,
    TextsPrepared,
)
from webui.engine.model_loop import ModelLoop
from webui.engine.prefill_budget import PrefillBudget
from webui.errors import InvalidRequest


class Bench:
    """Both loops on fakes, with a clock that stands still."""

    def __init__(self) -> None:
        self.runner, self.embedder = FakeRunner(), FakeEmbedder()
        budget = PrefillBudget(self.runner.max_batch_tokens, 0.01)
        self.loop = ModelLoop(
            GenerationLoop(self.runner, budget, lambda: 0.0), EmbedLoop(self.embedder)
        )

    def chat(self, text: str, **fields) -> str:
        request = make_request(text, **fields)
        self.loop.take(Announced(request.request_id))
        prompt = list(f"user: {text}\nassistant: ".encode())
        self.loop.take(Prepared(request, prompt, 0.0))
        return request.request_id

    def embed(self, *inputs: str, **fields) -> str:
        request = request_of(*inputs, **fields)
        self.loop.take(TextsAnnounced(request.request_id))
        texts = [self.embedder.tokenize_text(text, None) for text in inputs]
        self.loop.take(TextsPrepared(request, texts))
        return request.request_id

    def deltas(self, messages) -> list[object]:
        return [o.delta for m in messages if isinstance(m, ipc.Outputs) for o in m.items]


def test_thousand_texts_do_not_stop_a_reply():
    bench = Bench()
    bench.chat("say " + "x" * 50)
    bench.embed(*(f"text {i}" for i in range(1000)))
    deltas: list[object] = []
    while not any(isinstance(delta, Finish) for delta in deltas):
        num_steps, num_batches = bench.runner.num_steps, len(bench.embedder.batches)
        deltas += bench.deltas(bench.loop.step())
        assert bench.runner.num_steps == num_steps + 1, "every step goes on with the reply"
        assert len(bench.embedder.batches) <= num_batches + 1, "and reads one batch at most"
    assert any(isinstance(delta, VectorPart) for delta in deltas), "texts go on meanwhile"
    assert bench.loop.has_work


def test_reply_is_told_before_texts_are_computed():
    bench = Bench()
    bench.chat("say xy", max_tokens=1)
    while bench.runner.num_tokens_read < len("user: say xy\nassistant: ") - 1:
        list(bench.loop.step())  # but for the last token, which makes the next step
    bench.embed("a")
    messages = iter(bench.loop.step())
    while not any(isinstance(delta, Text) for delta in bench.deltas([next(messages)])):
        pass
    assert bench.embedder.batches == []
    rest = bench.deltas(messages)
    assert [type(delta) for delta in rest] == [VectorPart, Embedded]


def test_texts_alone_use_whole_batches():
    bench = Bench()
    bench.embed(*"abcdefgh")
    list(bench.loop.step())
    list(bench.loop.step())
    assert bench.embedder.batches == [list("abcd"), list("efgh")]
    assert not bench.loop.has_work
    assert bench.runner.num_steps == 0


def test_abort_and_refusal_reach_both_kinds():
    bench = Bench()
    reply, texts = bench.chat("say a"), bench.embed("a")
    bench.loop.take(Aborted(reply))
    bench.loop.take(Aborted(texts))
    assert not bench.loop.has_work
    bench.loop.take(Announced("r"))
    bench.loop.take(TextsAnnounced("s"))
    for name in "rs":
        (told,) = bench.loop.take(Refused(name, InvalidRequest("no")))
        assert told.request_id == name


def test_model_that_cannot_chat_only_embeds():
    embedder = FakeEmbedder()
    loop = ModelLoop(None, EmbedLoop(embedder))
    assert not loop.has_work
    assert loop.take(Aborted("x")) == []
    request = request_of("a")
    loop.take(TextsAnnounced(request.request_id))
    loop.take(TextsPrepared(request, [[1, 2]]))
    assert len(list(loop.step())) == 1
