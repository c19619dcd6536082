from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.unit.engine.contract import make_request
from tests.unit.engine.fake_runner import FakeRunner
from tests.unit.engine.test_model_loop import Bench
from webui.engine import ipc
from webui.engine.generation_loop import GenerationLoop
from webui.engine.interface import Embedded, Finish, FinishReason, Priority, Text, Timings, Usage
from webui.engine.mail import Aborted, Announced, Refused
from webui.engine.prefill_budget import PrefillBudget
from webui.engine.runner import Row
from webui.engine.sequence import Sequence
from webui.engine.stats import NO_STEPS, STEP_BOUNDS_S, EngineStats, total
from webui.engine.tally import Tally
from webui.errors import InvalidRequest


def sequence(num_prompt: int) -> Sequence:
    prompt = [1] * num_prompt
    return Sequence(make_request("x"), prompt, context_length=100, arrived_s=0.0)


def stats_of(tally: Tally) -> EngineStats:
    return tally.stats(EngineStats())


def run(bench: Bench) -> list[object]:
    deltas: list[object] = []
    while bench.loop.has_work:
        deltas += bench.deltas(bench.loop.step())
    return deltas


def test_step_counts_what_it_reads_and_writes():
    tally = Tally()
    rows = [Row(0, [1] * 6, 0, sample=False), Row(1, [1], 4, sample=True)]
    tally.note_step(rows, [sequence(10), sequence(4)], 0.05)
    tally.note_step([Row(1, [1, 2, 3], 5, sample=True, num_draft=2)], [sequence(4)], 0.04)
    stats = stats_of(tally)
    assert (stats.num_steps, stats.num_rows, stats.num_step_tokens) == (2, 3, 10)
    assert stats.num_prompt_tokens == 6
    assert (stats.prefill_s, stats.decode_s) == (0.05, 0.04)


def test_tokens_behind_the_prompt_that_are_read_again_are_no_prompt():
    tally = Tally()
    tally.note_step([Row(0, [1] * 8, 2, sample=True)], [sequence(5)], 0.1)
    assert stats_of(tally).num_prompt_tokens == 3


def test_step_that_came_to_nothing_costs_its_time_and_counts_no_tokens():
    tally = Tally()
    rows = [Row(0, [1] * 6, 0, sample=False), Row(1, [1], 4, sample=True)]
    tally.note_lost(rows, [sequence(10), sequence(4)], 0.05)
    tally.note_lost(rows[1:], [sequence(4)], 0.04)
    assert stats_of(tally) == EngineStats(prefill_s=0.05, decode_s=0.04)


@pytest.mark.parametrize(
    ("step_s", "place"), [(0.001, 0), (0.01, 0), (0.0101, 1), (2.0, 11), (9.0, 12)]
)
def test_writing_step_counts_under_its_bound(step_s, place):
    tally = Tally()
    tally.note_step([Row(0, [1], 4, sample=True)], [sequence(4)], step_s)
    tally.note_step([Row(0, [1], 3, sample=True)], [sequence(4)], step_s)  # reads only
    counts = stats_of(tally).writing_steps
    assert [index for index, num in enumerate(counts) if num] == [place]
    assert sum(counts) == 1
    assert stats_of(tally).writing_s == step_s


def test_share_of_writing_steps_is_told_by_a_bound():
    counts = list(NO_STEPS)
    assert EngineStats().writing_step_s(0.5) is None
    counts[2], counts[5], counts[-1] = 90, 6, 4
    stats = EngineStats(writing_steps=tuple(counts))
    assert stats.writing_step_s(0.5) == STEP_BOUNDS_S[2]
    assert stats.writing_step_s(0.95) == STEP_BOUNDS_S[5]
    assert stats.writing_step_s(0.99) is None


def test_messages_are_counted_by_outcome():
    tally = Tally()
    usage = Usage(5, 3, 0, drafted_tokens=4, accepted_tokens=1)
    reasons = set(FinishReason) - {FinishReason.QUOTA}  # which no engine knows of
    ended = [Finish(reason, usage, Timings(0, 0, 0)) for reason in reasons]
    told = [Text("abc", 3), *ended, Embedded(17)]
    tally.note_message(ipc.Outputs([ipc.Output("r", delta) for delta in told]))
    tally.note_message(ipc.RequestError.of("r", InvalidRequest("no")))
    tally.note_message(ipc.Heartbeat(0.1))
    tally.note_abort(usage)
    stats = stats_of(tally)
    assert (stats.num_stopped, stats.num_full, stats.num_aborted, stats.num_failed) == (1, 2, 2, 1)
    assert (stats.num_drafted_tokens, stats.num_accepted_tokens) == (20, 5)
    assert (stats.num_reply_tokens, stats.num_embedded_tokens) == (3, 17)


def test_figures_of_two_lives_add_up_and_the_present_is_the_latter():
    changed = {
        name: 3
        for name in EngineStats.__struct_fields__
        if name not in {"waiting", "writing_steps"}
    }
    past = EngineStats(**changed, waiting=(1, 2, 3), writing_steps=(2,) * len(NO_STEPS))
    now = EngineStats(num_steps=4, num_running=1, max_waiting=2, writing_steps=past.writing_steps)
    both = total(past, now)
    assert (both.num_steps, both.num_failed, both.max_waiting) == (7, 3, 3)
    assert (both.num_running, both.waiting, both.cached_ram_bytes) == (1, (0, 0, 0), 0)
    assert both.writing_steps == (4,) * len(NO_STEPS)
    assert total(EngineStats(), now) == now


def test_figures_of_another_form_are_no_message():
    short = EngineStats(writing_steps=(1, 2))
    decoder = ipc.ToParentDecoder()
    with pytest.raises(ipc.BadFrame):
        list(decoder.feed(ipc.encode(ipc.Heartbeat(0.0, short))))
    whole = ipc.Heartbeat(0.0, EngineStats(num_steps=3))
    assert list(ipc.ToParentDecoder().feed(ipc.encode(whole))) == [whole]


class TestLoop:
    """What a loop did is what its stats say."""

    def test_tokens_are_those_of_the_usage(self):
        bench = Bench()
        for index in range(3):
            bench.chat("say " + "x" * (20 + index), max_tokens=5 + index, owner=str(index))
        deltas = run(bench)
        usages = [delta.usage for delta in deltas if isinstance(delta, Finish)]
        stats = bench.loop.stats
        assert stats.num_reply_tokens == sum(usage.completion_tokens for usage in usages) > 0
        assert stats.num_prompt_tokens + stats.num_slot_tokens == sum(
            usage.prompt_tokens for usage in usages
        )
        assert stats.num_steps == bench.runner.num_steps
        assert stats.num_stopped + stats.num_full == 3
        assert stats.num_running == 0
        assert stats.max_waiting == 3

    def test_what_is_read_again_from_a_slot_is_reused(self):
        bench = Bench()
        for _ in range(2):
            bench.chat("say xyz xyz xyz")
            deltas = run(bench)
        (cached,) = [d.usage.cached_tokens for d in deltas if isinstance(d, Finish)]
        assert bench.loop.stats.num_reused_tokens == cached > 0

    def test_who_waits_is_told_by_priority(self):
        bench = Bench()
        num_slots = bench.runner.info.num_slots
        for _ in range(num_slots + 2):
            bench.chat("say x", priority=Priority.API)
        bench.chat("say y", priority=Priority.BACKGROUND)
        list(bench.loop.step())
        stats = bench.loop.stats
        assert stats.num_running == num_slots
        assert stats.waiting == (0, 2, 1)
        assert stats.num_waiting == 3

    def test_each_abort_counts_once_and_only_where_there_was_something(self):
        bench = Bench()
        running = bench.chat("say xxx")
        list(bench.loop.step())
        bench.loop.take(Announced("early"))
        for request_id in (running, "early", "nobody", running):
            bench.loop.take(Aborted(request_id))
        assert bench.loop.stats.num_aborted == 2
        assert not bench.loop.has_work

    def test_refused_and_failed_requests_count(self):
        bench = Bench()
        bench.loop.take(Announced("r"))
        bench.loop.take(Refused("r", InvalidRequest("no")))
        bench.loop.take(Refused("stranger", InvalidRequest("no")))
        assert bench.loop.stats.num_failed == 1

    def test_texts_count(self):
        bench = Bench()
        bench.embed("one", "two")
        deltas = run(bench)
        (ended,) = [delta for delta in deltas if isinstance(delta, Embedded)]
        assert bench.loop.stats.num_embedded_tokens == ended.num_tokens > 0

    def test_threads_are_those_of_the_next_steps(self):
        stats = Bench().loop.stats
        assert stats.decode_threads == stats.prompt_threads == FakeRunner().info.num_threads

    def test_threads_of_prompts_that_were_set_apart_are_told(self):
        bench = Bench()
        bench.runner.info = replace(bench.runner.info, num_threads=2, num_prompt_threads=7)
        budget = PrefillBudget(bench.runner.max_batch_tokens, 0.01)
        present = GenerationLoop(bench.runner, budget, lambda: 0.0).present
        assert (present.decode_threads, present.prompt_threads) == (2, 7)
