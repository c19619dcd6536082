"""Threads that read prompts, on made-up machines: in seconds, whatever the neighbours do.

Each machine is one of two cores, or of more. With a neighbour a thread too many waits for its
core at every barrier, so that a step takes a second by itself.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import msgspec
import pytest

from tests.unit.engine.fake_runner import FakeOptions, FakeRunner
from webui.engine.pace import Pace
from webui.engine.prefill_budget import PrefillBudget
from webui.engine.reading_threads import CROWDED_PAUSE_S, MAX_PAUSE_S, ReadingThreads, ReadStep
from webui.engine.runner import Row
from webui.engine.threads import StepKind

GAP_S = 0.3
PROMPT_TOKENS = 4000


@dataclass
class Machine:
    """Seconds of a step that reads, by threads, tokens and depth.

    Attributes:
        cores: Of the machine.
        num_busy: Cores that others take.
        is_seen: Whether the engine is told of that.
        noise: Relative, of every step.
        outliers: Share of the steps that take five times as long.
    """

    cores: int = 2
    num_busy: int = 0
    is_seen: bool = False
    noise: float = 0.0
    outliers: float = 0.0
    dice: random.Random = field(default_factory=lambda: random.Random(1))

    def mean_s(self, threads: int, num_tokens: int, depth: int) -> float:
        step_s = 0.012 + 0.0042 * num_tokens * (1 + depth / 4000) / threads + 0.0005 * threads
        if threads > max(1, self.cores - self.num_busy):
            return 1.0 + 4 * step_s
        return step_s

    def step_s(self, threads: int, num_tokens: int, depth: int) -> float:
        step_s = self.mean_s(threads, num_tokens, depth)
        step_s *= max(0.5, 1 + self.noise * self.dice.gauss())
        return step_s * (5 if self.dice.random() < self.outliers else 1)


@dataclass
class Step:
    threads: int
    num_tokens: int
    step_s: float
    ended_s: float


class Engine:
    """Reads prompts of `PROMPT_TOKENS` one after the other, beside rows that write or alone."""

    def __init__(self, machine: Machine, num_decoding: int = 0, fixed: int = 0) -> None:
        self.machine = machine
        self.can_break = False
        self.num_decoding = num_decoding
        self.budget = PrefillBudget(2048, 0.017, GAP_S)
        self.threads = fixed or max(1, machine.cores - 1)
        runner = FakeRunner(FakeOptions(max_threads=0 if fixed else machine.cores))
        self.pace = Pace(
            msgspec.structs.replace(runner.info, num_threads=self.threads),
            self.budget,
            lambda: float(machine.cores - machine.num_busy) if machine.is_seen else None,
        )
        self.now_s = 0.0
        self.depth = 0
        self.steps: list[Step] = []

    def run(self, num_steps: int) -> list[Step]:
        """Make steps; return them."""
        for _ in range(num_steps):
            most, _ = self.pace.plan(num_decoding=self.num_decoding)
            num = min(most, PROMPT_TOKENS - self.depth)
            rows = [Row(0, [1] * num, self.depth, sample=False)]
            rows += [Row(1 + i, [1], 9, sample=True) for i in range(self.num_decoding)]
            if self.step(rows):
                self.depth = (self.depth + num) % PROMPT_TOKENS
        return self.steps[-num_steps:]

    def decode(self, num_steps: int) -> list[Step]:
        for _ in range(num_steps):
            self.pace.plan(num_decoding=1)
            self.step([Row(1, [1], 9, sample=True)])
        return self.steps[-num_steps:]

    def step(self, rows: list[Row]) -> bool:
        """Make a step; return whether it came to its end."""
        self.threads = self.pace.change_threads(rows) or self.threads
        num_tokens = sum(len(row.tokens) for row in rows)
        step_s = self.machine.step_s(self.threads, num_tokens, self.depth)
        limit_s = self.pace.limit_s(rows) if self.can_break else None
        is_broken = limit_s is not None and step_s > limit_s
        step_s = min(step_s, limit_s or step_s)
        self.now_s += step_s
        note = self.pace.note_broken if is_broken else self.pace.note
        note(rows, step_s, self.now_s)
        self.steps.append(Step(self.threads, num_tokens - self.num_decoding, step_s, self.now_s))
        return not is_broken

    def run_s(self, seconds: float) -> list[Step]:
        """Make steps for so many seconds; return them."""
        first, end_s = len(self.steps), self.now_s + seconds
        while self.now_s < end_s:
            self.run(1)
        return self.steps[first:]

    def read(self, num_prompts: int = 1) -> float:
        """Read whole prompts; return the seconds it took."""
        begun_s = self.now_s
        for _ in range(num_prompts):
            self.run(1)
            while self.depth:
                self.run(1)
        return self.now_s - begun_s


def best_s(machine: Machine, num_decoding: int, num_prompts: int) -> float:
    """Return the seconds that the best fixed number of threads takes, without noise."""
    calm = Machine(machine.cores, machine.num_busy)
    numbers = range(max(1, machine.cores - 3), machine.cores + 1)
    return min(Engine(calm, num_decoding, fixed=n).read(num_prompts) for n in numbers)


BESIDE = pytest.mark.parametrize("num_decoding", [0, 3])


@BESIDE
def test_first_long_prompt_on_an_idle_machine_gets_all_cores_in_seconds(num_decoding):
    engine = Engine(Machine(), num_decoding)
    took_s = engine.read()
    first = next(i for i, step in enumerate(engine.steps) if step.threads == 2)
    assert first <= 4
    assert {step.threads for step in engine.steps[10:]} == {2}
    assert engine.steps[9].ended_s < 2.0
    assert took_s <= 1.06 * best_s(engine.machine, num_decoding, 1)


@BESIDE
@pytest.mark.parametrize("cores", [2, 8, 16])
@pytest.mark.parametrize("seed", range(3))
def test_idle_machine_loses_less_than_three_percent(num_decoding, cores, seed):
    noisy = Machine(cores, noise=0.03, outliers=0.02, dice=random.Random(seed))
    engine = Engine(noisy, num_decoding)
    engine.run_s(60)
    num_before = len(engine.steps)
    engine.read(12)
    wanted_s = sum(
        noisy.mean_s(cores, step.num_tokens + num_decoding, 2000)
        for step in engine.steps[num_before:]
    )
    got_s = sum(
        noisy.mean_s(step.threads, step.num_tokens + num_decoding, 2000)
        for step in engine.steps[num_before:]
    )
    assert wanted_s / got_s >= 0.97


@BESIDE
@pytest.mark.parametrize("cores", [2, 8])
def test_search_costs_less_than_three_percent_of_all_prompts_from_the_first_on(num_decoding, cores):
    took_s = Engine(Machine(cores), num_decoding).read(20)
    assert took_s <= 1.03 * best_s(Machine(cores), num_decoding, 20)


@BESIDE
@pytest.mark.parametrize("is_seen", [False, True])
def test_busy_neighbour_costs_little_beside_a_single_thread(num_decoding, is_seen):
    engine = Engine(Machine(num_busy=1, is_seen=is_seen), num_decoding)
    took_s = engine.read(8)
    num_wide = sum(step.threads == 2 for step in engine.steps)
    assert took_s <= (1.01 if is_seen else 1.06) * best_s(engine.machine, num_decoding, 8)
    assert num_wide <= (1 + took_s / CROWDED_PAUSE_S if is_seen else 2 + took_s / 10)


@BESIDE
@pytest.mark.parametrize("is_seen", [False, True])
def test_neighbour_who_comes_and_goes_is_followed(num_decoding, is_seen):
    machine = Machine(is_seen=is_seen)
    engine = Engine(machine, num_decoding)
    engine.run_s(20)
    assert engine.threads == 2
    for _ in range(3):
        machine.num_busy = 1
        changing = engine.run(5)
        assert changing[0].threads == 2
        assert [step.threads for step in changing[3:]] == [1, 1]
        assert sum(step.threads == 2 for step in engine.run_s(25)) <= 5
        machine.num_busy = 0
        engine.run_s(5 if is_seen else MAX_PAUSE_S + 5)
        assert sum(step.threads == 2 for step in engine.run_s(10)) > 5
        assert engine.threads == 2


@pytest.mark.parametrize("num_decoding", [1, 3, 8])
def test_gaps_of_running_replies_stay_within_their_bound(num_decoding):
    engine = Engine(Machine(noise=0.05), num_decoding)
    engine.read(5)
    assert max(step.step_s for step in engine.steps) <= GAP_S


def test_gaps_stay_within_their_bound_when_reading_alone_comes_before():
    engine = Engine(Machine(), 0)
    engine.read(2)
    engine.num_decoding = 3
    assert max(step.step_s for step in engine.run(40)) <= GAP_S


def test_neighbour_makes_few_gaps_too_long():
    machine = Machine(is_seen=True)
    engine = Engine(machine, 3)
    engine.run_s(20)
    machine.num_busy = 1
    assert sum(step.step_s > GAP_S for step in engine.run_s(60)) <= 2


@pytest.mark.parametrize("is_seen", [False, True])
def test_steps_that_a_neighbour_spoils_are_broken_off_and_made_with_fewer_threads(is_seen):
    machine = Machine(is_seen=is_seen)
    engine = Engine(machine, 3)
    engine.can_break = True
    engine.run_s(20)
    for _ in range(3):
        machine.num_busy = 1
        after = engine.run(5)
        assert after[0].threads == 2
        assert [step.threads for step in after[1:]] == ([1] * 4 if is_seen else [1, 2, 1, 1])
        assert max(step.step_s for step in after) <= 2.5 * GAP_S
        assert sum(step.step_s for step in after[1:3]) <= 2 * GAP_S
        machine.num_busy = 0
        engine.run_s(MAX_PAUSE_S + 5)


def test_step_of_decoding_that_a_neighbour_spoils_is_made_with_fewer_threads():
    engine = Engine(Machine(), 0)
    engine.can_break = True
    engine.decode(60)
    engine.machine.num_busy = 1
    spoilt = next(step for step in engine.decode(60) if step.threads == 2)
    after = engine.steps[engine.steps.index(spoilt) :]
    assert spoilt.step_s <= GAP_S
    assert [step.threads for step in after[1:8]] == [1] * 7


def test_single_thread_has_no_limit():
    engine = Engine(Machine(num_busy=1, is_seen=True), 3)
    engine.run(20)
    assert engine.threads == 1
    assert engine.pace.limit_s([Row(0, [1] * 64, 0, sample=False)]) is None


def test_lone_slow_step_changes_nothing():
    engine = Engine(Machine(), 0)
    engine.run_s(20)
    engine.machine.outliers = 1.0
    engine.run(1)
    engine.machine.outliers = 0.0
    after = engine.run(30)
    assert sum(step.threads == 1 for step in after) <= 2
    assert {step.threads for step in after[-20:]} == {2}


def test_trial_is_not_misled_by_a_jump_to_a_short_context():
    reading = ReadingThreads(1, 2)
    now_s = 0.0
    for _ in range(2):
        now_s += 0.2
        reading.note(ReadStep(40, 3000, 0.2, now_s, 0.2))
    assert reading.candidate == 2
    for cost_s in (0.04, 0.08, 0.16, 0.16, 0.16, 0.16):  # the first step alone was a cheap one
        if reading.candidate is None:
            break
        now_s += cost_s
        reading.note(ReadStep(reading.trial_tokens or 40, 0, cost_s, now_s))
    assert reading.settled == 1


def test_core_that_becomes_free_is_tried_at_once_whatever_was_in_vain_before():
    reading, now_s = ReadingThreads(1, 2), 0.0
    trials = []
    for free, num_steps in ((2.0, 250), (1.0, 5), (2.0, 10)):
        reading.note_room(free)
        trials.append([])
        for step in range(num_steps):
            step_s = 0.9 if reading.present == 2 else 0.3
            now_s += step_s
            reading.note(ReadStep(64, 64 * step, step_s, now_s))
            if reading.candidate:
                trials[-1].append(step)
    assert trials[0][0] == 1, "as soon as there are steps to compare with"
    assert trials[2][0] == 0
    assert len(trials[0]) < 30
    assert trials[1] == []


def test_steps_far_apart_are_no_pair():
    reading, now_s = ReadingThreads(1, 2), 0.0
    for pause_s in (0.0, 0.0, *[60.0] * 20):
        step_s = 0.1 if reading.present == 2 else 0.3
        now_s += pause_s + step_s
        reading.note(ReadStep(reading.trial_tokens or 64, 0, step_s, now_s))
    assert reading.settled == 1, "the machine may have been another one a minute ago"


def test_what_decoding_found_helps_the_first_prompt():
    engine = Engine(Machine(), 0)
    engine.decode(40)
    assert engine.pace._threads.settled(StepKind.DECODE) == 2
    assert engine.run(1)[0].threads == 2


@pytest.mark.parametrize("max_threads", [0, 2])
def test_number_that_the_user_set_stays(max_threads):
    reading = ReadingThreads(3, max_threads)
    for step in range(100):
        reading.note(ReadStep(64, 64 * step, 0.3, 0.3 * step, 0.1))
    assert reading.present == reading.settled == 3
