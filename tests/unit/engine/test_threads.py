"""The choice of threads on made-up machines: near the best, quick after a change, calm in noise."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from webui.engine.threads import MAX_PAUSE_S, TRIAL_SHARE, ThreadChoice

DECODE, PROMPT = 1, 256


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
        crowd: How many times as long a step takes with more threads than there are free cores.
    """

    cores: int
    decode_saturation: int
    num_busy: int = 0
    noise: float = 0.03
    outliers: float = 0.02
    growth: float = 0.0002
    crowd: float = 8
    num_steps: int = 0
    dice: random.Random = field(default_factory=lambda: random.Random(1))

    def mean_s(self, threads: int, num_tokens: int) -> float:
        saturation = self.decode_saturation if num_tokens == DECODE else self.cores
        work_s = 0.02 if num_tokens == DECODE else 0.006 * num_tokens
        mean_s = work_s / min(threads, saturation) + 0.0005 * threads
        is_crowded = threads > self.cores - self.num_busy
        return mean_s * (self.crowd if is_crowded and threads > 1 else 2 if is_crowded else 1)

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
        threads = choice.threads(num_tokens)
        chosen.append(threads)
        choice.note(num_tokens, machine.step_s(threads, num_tokens))
    return chosen


def share_of_best(machine: Machine, num_tokens: int, chosen: list[int]) -> float:
    """Return the speed of these threads as a share of the best fixed number's, without noise."""
    best_s = machine.mean_s(machine.best(num_tokens), num_tokens) * len(chosen)
    return best_s / sum(machine.mean_s(threads, num_tokens) for threads in chosen)


def begin(machine: Machine) -> ThreadChoice:
    return ThreadChoice(max(1, machine.cores - 1), machine.cores)


IDLE = [(2, 2), (2, 1), (8, 8), (8, 3), (16, 16), (16, 5)]


@pytest.mark.parametrize("num_tokens", [DECODE, PROMPT])
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


@pytest.mark.parametrize("num_tokens", [DECODE, PROMPT])
@pytest.mark.parametrize("seed", range(5))
def test_step_that_nearly_stands_still_is_not_waited_for_to_come_again(
    seed: int, num_tokens: int
) -> None:
    """Measured: two threads that spin beside two busy neighbours take up to five seconds."""
    machine = Machine(2, 2, crowd=250, outliers=0, dice=random.Random(seed))
    choice = begin(machine)
    run(choice, machine, num_tokens, 1000)
    while choice.threads(num_tokens) != 2:
        run(choice, machine, num_tokens, 1)
    machine.num_busy = 1
    changing = run(choice, machine, num_tokens, 20)
    assert changing.count(2) <= 2  # the one that shows it, and one when it is tried again


def test_one_long_step_alone_is_forgotten_soon() -> None:
    machine = Machine(2, 2, outliers=0)
    choice = begin(machine)
    run(choice, machine, DECODE, 1000)
    while choice.threads(DECODE) != 2:
        run(choice, machine, DECODE, 1)
    choice.note(DECODE, 4.0)  # such as of weights that had to come from disk again
    assert choice.threads(DECODE) == 1
    after = run(choice, machine, DECODE, 100)
    assert after.count(2) >= 75


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


def test_decoding_and_prompts_are_searched_apart() -> None:
    machine = Machine(8, 2)
    choice = begin(machine)
    for _ in range(60):
        run(choice, machine, PROMPT, 20)
        run(choice, machine, DECODE, 20)
    decode = run(choice, machine, DECODE, 400)
    prompt = run(choice, machine, PROMPT, 400)
    assert max(set(decode), key=decode.count) <= 3
    assert max(set(prompt), key=prompt.count) >= 7


@pytest.mark.parametrize("max_threads", [0, 2])
def test_number_that_the_user_set_stays(max_threads: int) -> None:
    choice = ThreadChoice(3, max_threads)
    machine = Machine(8, 8)
    assert set(run(choice, machine, DECODE, 500)) == {3}


def test_steps_of_another_size_are_not_compared() -> None:
    choice = ThreadChoice(1, 2)
    for _ in range(4):
        choice.note(1, 0.02)
    choice.note(3, 0.5)  # one of another size passes without a trace
    choice.note(1, 0.02)
    assert choice.threads(1) == 2
    for _ in range(3):
        choice.note(3, 0.03)  # the trial has nothing to be compared with any more
    assert choice.threads(1) == 1
