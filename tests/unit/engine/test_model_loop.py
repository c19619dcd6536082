from __future__ import annotations

from itertools import pairwise

from tests.unit.engine.contract import make_request
from tests.unit.engine.fake_embedder import FakeEmbedder
from tests.unit.engine.fake_runner import FakeOptions, FakeRunner
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
from webui.engine.text_pace import TEXT_SHARE, TextPace
from webui.errors import InvalidRequest


class Bench:
    """Both loops on fakes, with a clock that goes on by what each pass takes.

    Args:
        has_parts: Whether a text may be read in parts.
        token_s: What a token costs beyond the 0.02 s of a pass.
        max_text_tokens: Of the embedder.
    """

    def __init__(
        self, *, has_parts: bool = True, token_s: float = 0.002, max_text_tokens: int = 32
    ) -> None:
        self.now_s, self.replies_s, self.texts_s = 0.0, 0.0, 0.0
        self.ends_s: list[float] = []  # of the steps of replies
        self.runner = FakeRunner(FakeOptions(context_length=8192))
        self.embedder = FakeEmbedder(has_parts=has_parts)
        self.embedder.max_text_tokens = max_text_tokens
        self.embedder.max_batch_tokens = max(48, max_text_tokens)
        self._forward, self.runner.forward = self.runner.forward, self._write
        self._read, self.embedder.read = self.embedder.read, self._take_time
        self._token_s = token_s
        budget = PrefillBudget(self.runner.max_batch_tokens, 0.02)
        text_budget = PrefillBudget(self.embedder.max_batch_tokens, 0.02)
        self.loop = ModelLoop(
            GenerationLoop(self.runner, budget, lambda: self.now_s),
            EmbedLoop(self.embedder),
            TextPace(text_budget),
            lambda: self.now_s,
        )

    def _write(self, rows):
        step_s = 0.02 + self._token_s * sum(len(row.tokens) for row in rows)
        self.now_s += step_s
        self.replies_s += step_s
        self.ends_s.append(self.now_s)
        return self._forward(rows)

    def _take_time(self, max_tokens):
        read = self._read(max_tokens)
        step_s = 0.02 + self._token_s * read.num_tokens
        self.now_s += step_s
        self.texts_s += step_s
        return read

    @property
    def gaps_s(self) -> list[float]:
        return [later - earlier for earlier, later in pairwise(self.ends_s)]

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


def write_beside_texts(bench: Bench, num_steps: int) -> list[float]:
    """Write a reply beside more texts than can be read; return the gaps between its tokens."""
    bench.chat("say x", max_tokens=4000, ignore_eos=True)
    for _ in range(60):
        list(bench.loop.step())
    bench.embed(*("t" * (bench.embedder.max_text_tokens - 1) for _ in range(2000)))
    bench.replies_s = bench.texts_s = 0.0
    bench.ends_s.clear()
    for _ in range(num_steps):
        list(bench.loop.step())
    return bench.gaps_s


def test_texts_keep_to_their_share_and_to_the_gap():
    bench = Bench(max_text_tokens=500, token_s=0.005)
    gaps = write_beside_texts(bench, 300)
    assert max(gaps) < 0.3, "whole texts would take 2.5 s each"
    share = bench.texts_s / (bench.texts_s + bench.replies_s)
    assert 0.15 < share < TEXT_SHARE + 0.03


def test_texts_that_are_read_whole_come_the_more_seldom():
    bench = Bench(max_text_tokens=200, token_s=0.005, has_parts=False)
    write_beside_texts(bench, 390)
    share = bench.texts_s / (bench.texts_s + bench.replies_s)
    assert 0 < share < TEXT_SHARE + 0.08, "one text takes a second"


def test_texts_that_come_late_have_saved_nothing_up():
    bench = Bench(max_text_tokens=500)
    bench.chat("say x", max_tokens=4000, ignore_eos=True)
    for _ in range(200):
        list(bench.loop.step())
    bench.embed(*("t" * 400 for _ in range(100)))
    bench.replies_s = 0.0
    for _ in range(30):
        list(bench.loop.step())
    assert bench.texts_s < 0.3 + bench.replies_s


def test_prompt_makes_way_for_what_texts_took():
    bench = Bench(max_text_tokens=500, token_s=0.005)
    bench.chat("say x", max_tokens=4000, ignore_eos=True)
    bench.embed(*("t" * 400 for _ in range(100)))
    for _ in range(50):
        list(bench.loop.step())
    bench.chat("y" * 400, owner="bob", max_tokens=5)
    bench.ends_s.clear()
    for _ in range(60):
        list(bench.loop.step())
    assert max(bench.gaps_s) < 0.3


def test_texts_alone_do_not_keep_a_newcomer_long():
    bench = Bench(max_text_tokens=500, token_s=0.01)
    bench.embed(*("t" * 499 for _ in range(20)))
    longest = 0.0
    for _ in range(40):
        begun_s = bench.now_s
        list(bench.loop.step())
        longest = max(longest, bench.now_s - begun_s)
    assert longest < 0.7, "a text takes five seconds"


def test_texts_alone_use_whole_batches():
    bench = Bench()
    bench.embed(*"abcdefgh")
    while bench.loop.has_work:
        list(bench.loop.step())
    assert bench.embedder.batches == [list("abcd"), list("efgh")]
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
    loop = ModelLoop(None, EmbedLoop(embedder), None, lambda: 0.0)
    assert not loop.has_work
    assert loop.take(Aborted("x")) == []
    request = request_of("a")
    loop.take(TextsAnnounced(request.request_id))
    loop.take(TextsPrepared(request, [[1, 2]]))
    assert len(list(loop.step())) == 1
