"""Threads of decoding on made-up machines: near the best, quick after a change, calm in noise."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from webui.engine.reading_threads import ReadStep
from webui.engine.threads import MAX_PAUSE_S, TRIAL_SHARE, StepKind, ThreadChoice

DECODE, MANY = 1, 256


@dataclass
class Machine:
    """Seconds of a step: work that is shared up to a saturation, and a barrier for each thread.

    Attributes:
        cores: Of the machine.
        decode_saturation: More threads than these do not decode faster.
        num_busy: Cores that another process takes.
        noise: Relative, of every step.
        outliers: Share of the steps that take five times as long.
        growth: By which each step of a reply takes longer than the one before.
    """

    cores: int
    decode_saturation: int
    num_busy: int = 0
    noise: float = 0.03
    outliers: float = 0.02
    growth: float = 0.0002
    num_steps: int = 0
    dice: random.Random = field(default_factory=lambda: random.Random(1))

    def mean_s(self, threads: int, num_tokens: int) -> float:
        saturation = self.decode_saturation if num_tokens == DECODE else self.cores
        work_s = 0.02 if num_tokens == DECODE else 0.006 * num_tokens
        mean_s = work_s / min(threads, saturation) + 0.0005 * threads
        is_crowded = threads > self.cores - self.num_busy
        return mean_s * (8 if is_crowded and threads > 1 else 2 if is_crowded else 1)

    def step_s(self, threads: int, num_tokens: int) -> float:
        self.num_steps += 1
        step_s = self.mean_s(threads, num_tokens) * (1 + self.noise * self.dice.gauss())
        if self.dice.random() < self.outliers:
            step_s *= 5
        return max(step_s, 1e-4) * (1 + self.growth * (self.num_steps % 500))

    def best(self, num_tokens: int) -> int:
        return min(range(1, self.cores + 1), key=lambda n: self.mean_s(n, num_tokens))


def run(choice: ThreadChoice, machine: Machine, num_tokens: int, num_steps: int) -> list[int]:
    """Make steps; return the threads of each."""
    chosen = []
    for _ in range(num_steps):
        threads = choice.threads(StepKind.DECODE)
        chosen.append(threads)
        choice.note_decode(num_tokens, machine.step_s(threads, num_tokens))
    return chosen


def share_of_best(machine: Machine, num_tokens: int, chosen: list[int]) -> float:
    """Return the speed of these threads as a share of the best fixed number's, without noise."""
    best_s = machine.mean_s(machine.best(num_tokens), num_tokens) * len(chosen)
    return best_s / sum(machine.mean_s(threads, num_tokens) for threads in chosen)


def begin(machine: Machine) -> ThreadChoice:
    return ThreadChoice(max(1, machine.cores - 1), machine.cores)


IDLE = [(2, 2), (2, 1), (8, 8), (8, 3), (16, 16), (16, 5)]


@pytest.mark.parametrize("num_tokens", [DECODE, MANY])
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("cores", "saturation"), IDLE)
def test_idle_machine_loses_less_than_three_percent(
    cores: int, saturation: int, seed: int, num_tokens: int
) -> None:
    machine = Machine(cores, saturation, dice=random.Random(seed))
    choice = begin(machine)
    first = run(choice, machine, num_tokens, 600)
    rest = run(choice, machine, num_tokens, 5000)
    assert share_of_best(machine, num_tokens, first[400:]) >= 0.9
    assert share_of_best(machine, num_tokens, rest) >= 0.97


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("cores", [2, 8, 16])
def test_busy_neighbour_is_left_its_core_within_seconds(cores: int, seed: int) -> None:
    machine = Machine(cores, cores, dice=random.Random(seed))
    choice = begin(machine)
    run(choice, machine, DECODE, 1000)
    machine.num_busy = 1
    changing = run(choice, machine, DECODE, 40)
    assert sum(machine.mean_s(threads, DECODE) for threads in changing) < 5
    assert share_of_best(machine, DECODE, run(choice, machine, DECODE, 4000)) >= 0.9


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("cores", [2, 8])
def test_core_is_taken_again_when_the_neighbour_leaves(cores: int, seed: int) -> None:
    machine = Machine(cores, cores, dice=random.Random(seed), num_busy=1)
    choice = begin(machine)
    run(choice, machine, DECODE, 1500)
    machine.num_busy = 0
    spent_s = 0.0
    while spent_s < MAX_PAUSE_S + 5:
        (threads,) = run(choice, machine, DECODE, 1)
        spent_s += machine.mean_s(threads, DECODE)
    assert share_of_best(machine, DECODE, run(choice, machine, DECODE, 2000)) >= 0.95


@pytest.mark.parametrize("seed", range(5))
def test_noise_alone_does_not_move_it(seed: int) -> None:
    machine = Machine(2, 2, noise=0.1, outliers=0.05, dice=random.Random(seed))
    choice = begin(machine)
    run(choice, machine, DECODE, 200)
    chosen = run(choice, machine, DECODE, 5000)
    runs = [n for i, n in enumerate(chosen) if not i or n != chosen[i - 1]]
    assert chosen.count(1) <= 5000 * 3 * TRIAL_SHARE
    assert len(runs) <= 100


def read(choice: ThreadChoice, machine: Machine, seconds: float, now_s: float) -> list[int]:
    """Read prompts; return the threads of each step."""
    chosen, end_s, depth = [], now_s + seconds, 0
    while now_s < end_s:
        chosen.append(choice.threads(StepKind.PROMPT))
        num_tokens = choice.trial_tokens(StepKind.PROMPT) or MANY
        step_s = machine.step_s(chosen[-1], num_tokens)
        now_s += step_s
        depth = (depth + num_tokens) % 4096
        choice.note_reading(StepKind.PROMPT, ReadStep(num_tokens, depth, step_s, now_s))
    return chosen


def test_decoding_and_prompts_are_searched_apart() -> None:
    machine, reading = Machine(8, 2), Machine(8, 2)
    choice = begin(machine)
    for turn in range(60):
        read(choice, reading, 5, 10.0 * turn)
        run(choice, machine, DECODE, 20)
    decode = run(choice, machine, DECODE, 400)
    prompt = read(choice, reading, 100, 1000)
    assert max(set(decode), key=decode.count) <= 3
    assert max(set(prompt), key=prompt.count) >= 7


def test_others_who_keep_the_cores_busy_leave_no_room_for_trials() -> None:
    machine = Machine(2, 2, num_busy=1)
    choice = begin(machine)
    choice.note_room(1.0)
    assert set(run(choice, machine, DECODE, 2000)) == {1}  # 80 s
    machine.num_busy = 0
    choice.note_room(1.9)
    assert run(choice, machine, DECODE, 20).count(2) > 10
    choice.note_room(1.0)
    assert 1 in run(choice, machine, DECODE, 6), "one who comes is looked into before he is felt"


@pytest.mark.parametrize("max_threads", [0, 2])
def test_number_that_the_user_set_stays(max_threads: int) -> None:
    choice = ThreadChoice(3, max_threads)
    machine = Machine(8, 8)
    assert set(run(choice, machine, DECODE, 500)) == {3}


def test_steps_of_another_size_are_not_compared() -> None:
    choice = ThreadChoice(1, 2)
    for _ in range(4):
        choice.note_decode(1, 0.02)
    choice.note_decode(3, 0.5)  # one of another size passes without a trace
    choice.note_decode(1, 0.02)
    assert choice.threads(StepKind.DECODE) == 2
    for _ in range(3):
        choice.note_decode(3, 0.03)  # the trial has nothing to be compared with any more
    assert choice.threads(StepKind.DECODE) == 1
