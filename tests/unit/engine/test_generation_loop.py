"""The oracle: what a sequence says does not depend on who else is there."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.engine.contract import make_request
from tests.unit.engine.fake_drafter import FakeDrafter
from tests.unit.engine.fake_runner import VOWELS, FakeOptions, FakeRunner, mark_of
from webui.engine.drafting import Drafting
from webui.engine.generation_loop import Aborted, Announced, GenerationLoop, Prepared, Refused
from webui.engine.interface import (
    Finish,
    FinishReason,
    GrammarTrigger,
    Prefill,
    Priority,
    Queued,
    Text,
)
from webui.engine.ipc import Begun, Outputs, RequestError
from webui.engine.model_draft import ModelDraft
from webui.engine.prefill_budget import PrefillBudget
from webui.engine.scheduler import Scheduler
from webui.engine.speculation import Choice, SpeculationControl
from webui.engine.waiting import WaitingQueue
from webui.errors import EngineError, InvalidRequest


@dataclass(frozen=True)
class Job:
    """One request of a random load.

    Attributes:
        arrives: Step at which it comes.
        leaves: Steps after which it is aborted; None stays.
    """

    owner: str
    prompt: tuple[int, ...]
    max_tokens: int
    stop: tuple[str, ...]
    seed: int
    arrives: int = 0
    leaves: int | None = None
    banned: tuple[str, ...] = ()
    min_tokens: int = 0
    priority: Priority = Priority.CHAT
    grammar: str = ""
    triggers: tuple[str, ...] = ()
    overflow: str = "stop"
    ignores_eos: bool = False
    scales: tuple[float, ...] = ()


jobs = st.builds(
    Job,
    owner=st.sampled_from(["ann", "bob", "cid"]),
    prompt=st.one_of(
        st.lists(st.sampled_from(b"ab"), min_size=1, max_size=40).map(tuple),
        st.sampled_from([(97,) * 38, (97,) * 21, (97, 98) * 19]),  # some come several times
    ),
    max_tokens=st.one_of(st.integers(1, 30), st.integers(60, 150)),
    stop=st.lists(st.sampled_from(["a", "zz", "🦀", "e "]), max_size=2).map(tuple),
    seed=st.integers(-1, 3),
    arrives=st.integers(0, 30),
    leaves=st.one_of(st.none(), st.integers(0, 25)),
    banned=st.lists(st.sampled_from(["e", "an", "🦀", "  ", "q\n"]), max_size=2).map(tuple),
    min_tokens=st.sampled_from([0, 0, 4]),
    priority=st.sampled_from(Priority),
    grammar=st.sampled_from(["", "", VOWELS]),
    triggers=st.sampled_from([(), ("e",), ("a", "q")]),
    overflow=st.sampled_from(["stop", "stop", "drop_oldest", "shift"]),
    ignores_eos=st.booleans(),
    scales=st.sampled_from([(), (), (1.0, 0.0), (0.0, 2.5), (-1.0, 0.5)]),
)


class Clock:
    """A clock on which every look costs time."""

    def __init__(self, look_s):
        self.now_s = 0.0
        self.look_s = look_s

    def __call__(self):
        self.now_s += self.look_s
        return self.now_s


class Seer(Drafting):
    """Guesses what will come, wrongly now and then, and never doubts that it pays."""

    def __init__(self, runner, right_for):
        super().__init__(runner, 9, Eager())
        self.runner = runner
        self.right_for = right_for
        self.num_asked = 0

    def _propose(self, sequence, most):
        tokens = list(sequence.tokens)
        mark = mark_of(sequence.scales)
        for _ in range(most):
            self.num_asked += 1
            cells = [token + mark for token in tokens]
            token = self.runner._choose(cells, self.runner._samplers[sequence.slot])
            tokens.append(98 if self.num_asked % self.right_for == 0 else token)
        return tokens[len(sequence.tokens) :]


class Eager(SpeculationControl):
    def choose(self, guesses):
        return Choice(9, is_modelled=any(guess.is_modelled for guess in guesses))

    def readable(self, num_rows, num_missing, *, is_shared):
        return 5

    def note(self, *step):
        pass

    note_reading = note_guessing = note


# What draft model is there; those that fail do so at their fifth call.
DRAFTERS = {
    "good": {},
    "middling": {"right_for": 3},
    "wrong": {"right_for": 1},
    "short": {"context_length": 20},
    "failing": {"fails_at": 5},
    "raising": {"fails_at": 5, "error": ZeroDivisionError("a bug of the draft model")},
}


def make_drafting(runner, clock, right_for, drafter):
    """Return guesses of a seer, or of a draft model beside what is looked up; None for none."""
    if right_for:
        return Seer(runner, right_for)
    if drafter is None:
        return None
    model = ModelDraft(FakeDrafter(runner, **DRAFTERS[drafter]), clock)
    # One that is measured and one that asks whatever it costs.
    control = SpeculationControl() if runner.options.slots % 2 else Eager()
    return Drafting(runner, 9, control, model)


def make_loop(runner, look_s=0.003, right_for=0, drafter=None, **bounds):
    clock = Clock(look_s)
    budget = PrefillBudget(runner.max_batch_tokens, first_token_s=0.05)
    scheduler = Scheduler(
        runner.info,
        max_batch_tokens=runner.max_batch_tokens,
        waiting=WaitingQueue(**bounds),
        reserved_reply_tokens=6,
        quantum_tokens=4,
    )
    drafting = make_drafting(runner, clock, right_for, drafter)
    return GenerationLoop(runner, budget, clock, scheduler, drafting=drafting)


def request_of(job, name):
    return make_request(
        "",
        request_id=name,
        owner=job.owner,
        max_tokens=job.max_tokens,
        stop=job.stop,
        seed=job.seed,
        priority=job.priority,
        temperature=0.5,
        banned_strings=job.banned,
        min_tokens=job.min_tokens,
        context_overflow=job.overflow,
        ignore_eos=job.ignores_eos,
        lora_scales=job.scales,
        grammar=job.grammar,
        grammar_triggers=tuple(map(GrammarTrigger, job.triggers)) if job.grammar else (),
    )


def send(loop, job, name, num_shared=0):
    assert loop.take(Announced(name)) == []
    return loop.take(Prepared(request_of(job, name), list(job.prompt), 0.0, num_shared))


def run(loop, load, failing=frozenset(), num_shared=None) -> dict[str, list]:
    """Play a load to its end; return the deltas by name.

    `num_shared` says by name how many tokens are the administrator's.
    """
    shared = num_shared or {}
    failed = set()
    got = {str(i): [] for i in range(len(load))}
    for step in itertools.count():
        assert step < 5000, "it does not end"
        for i, job in enumerate(load):
            if job.arrives == step:
                assert send(loop, job, str(i), shared.get(str(i), 0)) == []
            if job.leaves is not None and job.arrives + job.leaves == step:
                loop.take(Aborted(str(i)))
        if loop.has_work:
            for message in loop.step():
                if isinstance(message, RequestError):
                    failed.add(message.request_id)
                    continue
                for output in message.items:
                    got[output.request_id].append(output.delta)
        elif step > 60:
            assert failed == failing
            return got
    raise AssertionError


def text_of(deltas):
    return "".join(delta.text for delta in deltas if isinstance(delta, Text))


def alone(job, context_length=48, *, can_shift=True) -> list:
    options = FakeOptions(
        context_length=context_length,
        slots=1,
        max_batch_tokens=7,
        can_shift=can_shift,
        adapters=len(job.scales),
    )
    runner = FakeRunner(options)
    still = replace(job, arrives=0, leaves=None)
    return run(make_loop(runner), [still])["0"]


class Unsteady(FakeRunner):
    """Fails steps of several rows now and then, and any step with `poison` in it."""

    def __init__(self, options, steady_steps=0, poison=b"\xff"):
        super().__init__(options)
        self.steady_steps = steady_steps
        self.poison = list(poison)

    def forward(self, rows):
        banned = dict(self._banned)
        results = super().forward(rows)
        self._banned, after = banned, self._banned  # a step that fails has chosen nothing
        if any(self.poison == list(row.tokens[: len(self.poison)]) for row in rows):
            raise EngineError("a poisoned row")
        if self.steady_steps and len(rows) > 1 and self.num_steps % self.steady_steps == 0:
            raise EngineError("out of luck")
        self._banned = after
        return results


def check_nothing_is_left(loop):
    """The cells that the runner holds are those that may serve again; all else is empty."""
    scheduler, runner = loop._scheduler, loop._runner
    assert runner._samplers == {}, "a sampler was left open"
    assert runner.taken == [], "a sampler without a slot was left open"
    assert (scheduler.num_running, scheduler.num_waiting) == (0, 0)
    assert not scheduler._waiting.owners
    assert scheduler._cells._reserved == {}
    held = scheduler._cells._slots.held()
    assert held == {slot: len(cells) for slot, cells in runner._cells.items() if cells}
    assert len(loop._untold) == 0
    assert not loop._preparing
    assert loop._queue_news.take(1e9, has_newcomers=False) == {}
    assert loop._queue_news._told == {}


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    load=st.lists(jobs, min_size=1, max_size=10),
    options=st.builds(
        FakeOptions,
        context_length=st.just(48),
        slots=st.integers(1, 4),
        kv_cells=st.one_of(st.none(), st.integers(48, 150)),
        max_batch_tokens=st.integers(4, 40),
        can_cut=st.booleans(),
        can_shift=st.booleans(),
    ),
    steady_steps=st.sampled_from([0, 2, 5]),
    right_for=st.sampled_from([0, 1, 3, 1000]),
)
def test_batched_output_equals_one_at_a_time(load, options, steady_steps, right_for):
    check_oracle(load, options, steady_steps, right_for)


def test_cells_read_behind_a_stop_string_are_dropped_at_the_end():
    """The stop string may begin a banned one, so that a token that says nothing was read behind."""
    job = Job("ann", (98, 97), 26, ("a",), 0, banned=("an",), ignores_eos=True, scales=(-1.0, 0.5))
    first = Job("ann", (97,), 1, (), 0)
    options = FakeOptions(context_length=48, slots=1, max_batch_tokens=4)
    for can_cut in (True, False):
        check_oracle([first, job], options.model_copy(update={"can_cut": can_cut}), 0, 0)


@pytest.mark.soak
@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    load=st.lists(jobs, min_size=1, max_size=24),
    options=st.builds(
        FakeOptions,
        context_length=st.just(48),
        slots=st.integers(1, 16),
        kv_cells=st.one_of(st.none(), st.integers(48, 400)),
        max_batch_tokens=st.integers(16, 80),
        can_cut=st.booleans(),
        can_shift=st.booleans(),
    ),
    steady_steps=st.sampled_from([0, 2, 5]),
    right_for=st.sampled_from([0, 1, 3, 1000]),
)
@pytest.mark.timeout(600)
def test_batched_output_equals_one_at_a_time_in_500_loads(load, options, steady_steps, right_for):
    check_oracle(load, options, steady_steps, right_for)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    load=st.lists(jobs, min_size=1, max_size=8),
    slots=st.integers(1, 4),
    kv_cells=st.one_of(st.none(), st.integers(48, 150)),
    can_cut=st.booleans(),
    steady_steps=st.sampled_from([0, 5]),
)
@pytest.mark.parametrize("drafter", DRAFTERS)
def test_draft_model_changes_no_output(load, slots, kv_cells, can_cut, steady_steps, drafter):
    options = FakeOptions(context_length=48, slots=slots, kv_cells=kv_cells, can_cut=can_cut)
    check_oracle(load, options, steady_steps, drafter=drafter)


@pytest.mark.soak
@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    load=st.lists(jobs, min_size=1, max_size=24),
    slots=st.integers(1, 16),
    kv_cells=st.one_of(st.none(), st.integers(48, 400)),
    can_cut=st.booleans(),
    steady_steps=st.sampled_from([0, 2, 5]),
    drafter=st.sampled_from(list(DRAFTERS)),
)
@pytest.mark.timeout(600)
def test_draft_model_changes_no_output_in_500_loads(
    load, slots, kv_cells, can_cut, steady_steps, drafter
):
    options = FakeOptions(context_length=48, slots=slots, kv_cells=kv_cells, can_cut=can_cut)
    check_oracle(load, options, steady_steps, drafter=drafter)


def check_oracle(load, options, steady_steps, right_for=0, drafter=None):
    options = options.model_copy(update={"adapters": 2})
    loop = make_loop(Unsteady(options, steady_steps), right_for=right_for, drafter=drafter)
    got = run(loop, load)
    check_nothing_is_left(loop)
    if drafter and "fails_at" not in DRAFTERS[drafter]:
        assert loop._drafting._model._is_on, "what it was asked does not fit what it has read"
    for name, job in enumerate(load):
        together, single = got[str(name)], alone(job, can_shift=options.can_shift)
        if together and isinstance(together[-1], Finish):
            end, single_end = together[-1], single[-1]
            if options.kv_cells and (end.usage, end.reason) != (
                single_end.usage,
                single_end.reason,
            ):
                check_cut_short(together, single)
                continue
            assert text_of(together) == text_of(single)
            if job.grammar and not (job.triggers or job.banned):
                assert set(text_of(together)) <= set("aeiou🦀")
            assert not any(banned in text_of(together) for banned in job.banned)
            assert end.reason is single_end.reason
            assert end.usage.prompt_tokens == len(job.prompt)
            assert end.usage.completion_tokens == single_end.usage.completion_tokens
            tokens = sum(d.num_tokens for d in together if isinstance(d, Text))
            assert tokens == end.usage.completion_tokens <= job.max_tokens
        else:
            assert job.leaves is not None, "only who was aborted may end without a finish"
            assert text_of(single).startswith(text_of(together))


def check_cut_short(together, single):
    """The pool had no more cells for it: it ended with `length`, and said nothing wrong."""
    end = together[-1]
    if end.usage.completion_tokens == single[-1].usage.completion_tokens:
        assert text_of(together) == text_of(single)
        if end.reason is single[-1].reason:
            return  # only what was reused differs
    assert end.reason is FinishReason.LENGTH
    assert end.usage.completion_tokens >= 6, "less than was reserved"
    assert text_of(single).startswith(text_of(together))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 9)), min_size=2, max_size=24))
def test_owners_who_wait_are_served_alike_by_tokens(requests):
    runner = FakeRunner(FakeOptions(slots=1, context_length=64))
    loop = make_loop(runner)
    load = [Job(owner, (i, *[97] * num), 1, (), 0) for i, (owner, num) in enumerate(requests)]
    for i, job in enumerate(load):
        send(loop, job, str(i))
    served = dict.fromkeys("abcd", 0)
    left = [owner for owner, _ in requests]
    while loop.has_work:
        for message in loop.step():
            for output in message.items:
                if isinstance(output.delta, Finish):
                    owner = load[int(output.request_id)].owner
                    left.remove(owner)
                    served[owner] += len(load[int(output.request_id)].prompt) + 1
        waiting = [served[owner] for owner in set(left)]
        assert not waiting or max(waiting) - min(waiting) <= 11, "more than one request apart"


@pytest.mark.parametrize("kv_cells", [None, 100])
@pytest.mark.parametrize("leaves", range(24))
def test_cancel_at_any_step_frees_slot_and_cells(leaves, kv_cells):
    options = FakeOptions(slots=2, context_length=64, max_batch_tokens=4, kv_cells=kv_cells)
    loop = make_loop(FakeRunner(options))
    stay = Job("bob", (98,) * 9, 12, (), 1)
    load = [Job("ann", (97,) * 30, 20, (), 1, leaves=leaves), stay, stay]
    got = run(loop, load)
    assert text_of(got["1"]) == text_of(got["2"]) == text_of(alone(stay))
    check_nothing_is_left(loop)


@settings(max_examples=40, deadline=None)
@given(st.lists(jobs, max_size=6), st.integers(0, 20), st.booleans())
def test_poisoned_request_fails_alone(load, arrives, can_cut):
    poisoned = Job("eve", (255, *[97] * 20), 5, (), 0, arrives)
    load = [replace(job, leaves=None) for job in load]
    options = FakeOptions(slots=3, context_length=48, can_cut=can_cut, adapters=2)
    loop = make_loop(Unsteady(options))
    got = run(loop, [*load, poisoned], failing={str(len(load))})
    for name, job in enumerate(load):
        assert text_of(got[str(name)]) == text_of(alone(job))
    check_nothing_is_left(loop)


def test_prefix_of_the_same_owner_is_read_once():
    runner = FakeRunner()
    loop = make_loop(runner)
    run(loop, [Job("ann", (97,) * 60, 1, (), 0)])
    before = runner.num_tokens_read
    got = run(loop, [Job("ann", (97,) * 60 + (98,) * 4, 1, (), 0)])
    assert got["0"][-1].usage.cached_tokens == 60
    assert runner.num_tokens_read - before == 4


def test_memory_that_cannot_be_cut_is_cleared():
    runner = FakeRunner(FakeOptions(can_cut=False, slots=1))
    loop = make_loop(runner)
    run(loop, [Job("ann", (97,) * 30, 3, (), 0)])
    got = run(loop, [Job("ann", (97,) * 30, 3, (), 0)])
    assert got["0"][-1].usage.cached_tokens == 0


def test_abort_before_the_prompt_is_made_drops_it():
    loop = make_loop(FakeRunner())
    loop.take(Announced("x"))
    loop.take(Aborted("x"))
    request = request_of(Job("ann", (97,), 1, (), 0), "x")
    assert loop.take(Prepared(request, [97], 0.0)) == []
    assert loop.take(Refused("x", InvalidRequest("no"))) == []
    assert not loop.has_work


def test_refusal_is_told_with_code_and_hint():
    loop = make_loop(FakeRunner())
    loop.take(Announced("x"))
    assert loop.take(Refused("x", InvalidRequest("no", "do it so"))) == [
        RequestError("x", "invalid_request", "no", "do it so")
    ]


def test_busy_is_told_with_its_pause():
    loop = make_loop(FakeRunner(), max_waiting=1)
    job = Job("ann", (97,), 1, (), 0)
    assert send(loop, job, "a") == []
    (told,) = send(loop, job, "b")
    assert (told.code, told.request_id) == ("busy", "b")
    assert told.retry_after_s > 0


def test_waiting_ones_hear_their_place_and_an_estimate_that_sinks():
    loop = make_loop(FakeRunner(FakeOptions(slots=1)), look_s=0.3)
    for name in "abc":
        send(loop, Job("ann", (97,), 20, (), 0, ignores_eos=True), name)
    told = {"b": [], "c": []}
    while loop.has_work:
        for message in loop.step():
            for output in message.items:
                if isinstance(output.delta, Queued):
                    told[output.request_id].append(output.delta)
    places = {name: [queued.place for queued in news] for name, news in told.items()}
    assert {name: sorted(set(said)) for name, said in places.items()} == {"b": [1], "c": [1, 2]}
    for news in told.values():
        assert news[0].eta_s is None, "nothing is measured yet"
        estimates = [queued.eta_s for queued in news[1:]]
        assert len(estimates) > 3
        assert estimates == sorted(estimates, reverse=True)
        assert estimates[-1] < estimates[0] / 4


def test_failed_step_is_told_to_its_requests_and_leaves_a_clean_slot():
    runner = FakeRunner(FakeOptions(slots=1))
    loop = make_loop(runner)
    bad = Job("ann", tuple(b"user: fail now\n"), 3, (), 0)
    send(loop, bad, "bad")
    told = []
    while loop.has_work:
        told += [m for m in loop.step() if isinstance(m, RequestError)]
    assert [(m.request_id, m.code) for m in told] == [("bad", "engine_error")]
    assert runner._samplers == {}
    assert text_of(run(loop, [Job("ann", tuple(b"user: fai"), 3, (), 0)])["0"])


def test_row_without_usable_probabilities_fails_its_request_alone():
    runner = FakeRunner(FakeOptions(slots=2))
    loop = make_loop(runner, look_s=0.0001)
    bad = tuple(b"user: say abNaN!\nassistant: ")
    good = tuple(b"user: say abcdefgh\nassistant: ")
    send(loop, Job("ann", bad, 20, (), 0), "bad")
    send(loop, Job("bob", good, 20, (), 0), "good")
    told = []
    while loop.has_work:
        told += loop.step()
    (error,) = [m for m in told if isinstance(m, RequestError)]
    assert (error.request_id, error.message) == ("bad", "No usable probabilities")
    said = {"bad": "", "good": ""}
    for message in told[: told.index(error)]:
        for output in message.items:
            if isinstance(output.delta, Text):
                said[output.request_id] += output.delta.text
    assert said["bad"] == "abNaN!"
    outputs = [o for m in told if isinstance(m, Outputs) for o in m.items]
    good = [o.delta.text for o in outputs if o.request_id == "good" and isinstance(o.delta, Text)]
    assert "".join(good) == "abcdefgh"
    assert [o.request_id for o in outputs if isinstance(o.delta, Finish)] == ["good"]
    assert runner._samplers == {}
    again = run(loop, [Job("ann", tuple(b"user: say abcdefgh\nassistant: "), 20, (), 0)])
    assert text_of(again["0"]) == "abcdefgh"


@pytest.mark.parametrize("can_cut", [True, False])
def test_banned_string_is_said_in_other_words(can_cut):
    runner = FakeRunner(FakeOptions(can_cut=can_cut))
    loop = make_loop(runner)
    job = Job("ann", tuple(b"user: say abcde\nassistant: "), 5, (), 0, banned=("bcd",))
    got = run(loop, [job])["0"]
    said = text_of(got)
    assert said.startswith("ac")  # b began it, so that the next letter stands in its place
    assert "bcd" not in said
    prefill = [delta.done for delta in got if isinstance(delta, Prefill)]
    assert prefill == sorted(set(prefill))
    assert got[-1].usage.completion_tokens == 5


def test_sampler_that_cannot_be_opened_fails_its_request_alone():
    class Picky(FakeRunner):
        def open_sampler(self, slot, params, tokens, **more):
            if params.seed == 3:
                raise EngineError("no such grammar")
            super().open_sampler(slot, params, tokens, **more)

    loop = make_loop(Picky())
    send(loop, Job("ann", (97,), 2, (), 3), "bad")
    send(loop, Job("bob", (97,), 2, (), 1), "good")
    told = []
    while loop.has_work:
        told += loop.step()
    errors = [m for m in told if isinstance(m, RequestError)]
    assert [(m.request_id, m.message) for m in errors] == [("bad", "no such grammar")]
    ends = [
        o for m in told if isinstance(m, Outputs) for o in m.items if isinstance(o.delta, Finish)
    ]
    assert [o.request_id for o in ends] == ["good"]


@pytest.mark.parametrize("num_prompt", [1, 7, 40])
def test_all_that_a_step_made_goes_in_one_message(num_prompt):
    loop = make_loop(FakeRunner(FakeOptions(slots=2)))
    for name in "ab":
        send(loop, Job(name, (97,) * num_prompt, 5, (), 0), name)
    while loop.has_work:
        assert sum(isinstance(message, Outputs) for message in loop.step()) <= 1


def test_prefill_is_told_while_a_long_prompt_is_read():
    loop = make_loop(FakeRunner(FakeOptions(max_batch_tokens=8)), look_s=0.02)
    got = run(loop, [Job("ann", (97,) * 100, 1, (), 0)])
    done = [delta.done for delta in got["0"] if isinstance(delta, Prefill)]
    assert done == sorted(set(done))
    assert len(done) > 10
    assert done[-1] == 100


def test_quick_steps_share_a_message_and_the_end_waits_for_nothing():
    loop = make_loop(FakeRunner(), look_s=0.001)
    send(loop, Job("ann", tuple(b"user: say abcdefghijklmnop\nassistant: "), 16, (), 0), "a")
    messages = []
    while loop.has_work:
        messages += loop.step()
    texts = [o.delta for m in messages for o in m.items if isinstance(o.delta, Text)]
    assert "".join(text.text for text in texts) == "abcdefghijklmnop"
    assert len(texts) < 8
    assert sum(text.num_tokens for text in texts) == 16
    assert isinstance(messages[-1].items[-1].delta, Finish)


@pytest.mark.parametrize("max_threads", [0, 2])
def test_other_threads_are_tried_only_where_the_engine_may(max_threads):
    runner = FakeRunner(FakeOptions(max_threads=max_threads))
    loop = make_loop(runner)
    drafter = FakeDrafter(runner)
    loop._drafting = Drafting(runner, 0, model=ModelDraft(drafter, Clock(0.003)))
    reply = "abcdefghijklmnop"
    job = Job("ann", tuple(f"user: say {reply}\nassistant: ".encode()), 16, (), 0)
    got = run(loop, [job])
    assert "".join(delta.text for delta in got["0"] if isinstance(delta, Text)) == reply
    # The clock makes all steps alike: two threads are no gain, so the loop goes back to one.
    assert runner.threads == ([(2, 2), (1, 1)] if max_threads else [])
    assert drafter.threads == runner.threads


def test_text_before_a_failed_step_is_told():
    class Failing(FakeRunner):
        def forward(self, rows):
            if self.num_steps == 7:
                raise EngineError("out of luck")
            return super().forward(rows)

    loop = make_loop(Failing(), look_s=0.0001)
    send(loop, Job("ann", tuple(b"user: say abcdefghij\nassistant: "), 40, (), 0), "a")
    told = []
    while loop.has_work:
        told += loop.step()
    assert [type(message) for message in told] == [Outputs, Outputs, RequestError]
    texts = [output.delta for message in told[:2] for output in message.items[-1:]]
    assert texts == [Text("a", 1), Text("bcde", 4)]


def test_row_that_fails_a_step_by_what_was_asked_ends_alone():
    class Picky(FakeRunner):
        def forward(self, rows):
            results = super().forward(rows)
            if any(ord("x") in row.tokens for row in rows):
                raise InvalidRequest("asked too much")
            return results

    loop = make_loop(Picky())
    send(loop, Job("ann", tuple(b"user: say x\nassistant: "), 40, (), 0), "bad")
    send(loop, Job("bob", tuple(b"user: say abc\nassistant: "), 3, (), 0), "good")
    told = []
    while loop.has_work:
        told += loop.step()
    (error,) = [message for message in told if isinstance(message, RequestError)]
    assert (error.request_id, error.code) == ("bad", InvalidRequest.code)
    outputs = [o for m in told if isinstance(m, Outputs) for o in m.items]
    texts = [o.delta.text for o in outputs if isinstance(o.delta, Text) and o.request_id == "good"]
    assert "".join(texts) == "abc"
    check_nothing_is_left(loop)


def test_abort_tells_nothing_more():
    loop = make_loop(FakeRunner(), look_s=0.0001)
    send(loop, Job("ann", (97,), 20, (), 0), "a")
    loop.step()
    loop.step()
    loop.take(Aborted("a"))
    assert not loop.has_work
    assert len(loop._untold) == 0


def test_reply_is_told_as_begun_before_anything_is_done_for_it():
    runner = FakeRunner(FakeOptions(slots=1, context_length=512))
    told = []
    loop = GenerationLoop(
        runner,
        PrefillBudget(runner.max_batch_tokens, first_token_s=0.05),
        Clock(0.003),
        tell=lambda begun: told.append((begun, runner.num_steps, dict(runner._samplers))),
    )
    first, second = (Job(owner, (97,) * 9, 3, (), 0) for owner in ("ann", "bob"))
    send(loop, first, "1")
    send(loop, second, "2")
    assert told == []
    while loop.has_work:
        loop.step()
    assert [begun for begun, _, _ in told] == [Begun(["1"]), Begun(["2"])]
    assert told[0][1:] == (0, {}), "no sampler was opened, nothing was read"
    assert told[1][2] == {}
