import random

import pytest

from webui.engine.prefill_budget import AIMED_SHARE, ALONE_STEP_S, PrefillBudget
from webui.engine.step_costs import SMALL_TOKENS


class Machine:
    """Steps that cost `fixed_s` and `token_s` for each token, and up to `noise` more."""

    def __init__(self, fixed_s, token_s, noise=0.0):
        self.fixed_s = fixed_s
        self.token_s = token_s
        self.noise = noise
        self.random = random.Random(7)

    def run(self, budget, num_steps, num_decoding=0):
        """Read prompts; return tokens and seconds of each step."""
        steps = []
        for _ in range(num_steps):
            num = budget.tokens(num_decoding=num_decoding)
            step_s = self.fixed_s + (num + num_decoding) * self.token_s
            step_s *= 1 + self.random.random() * self.noise
            budget.note(num + num_decoding, step_s)
            steps.append((num, step_s))
        return steps


@pytest.mark.parametrize("token_s", [0.00005, 0.001, 0.006])
@pytest.mark.parametrize("num_decoding", [0, 2])
@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_steps_settle_near_their_bound(token_s, num_decoding, noise):
    budget = PrefillBudget(512, first_token_s=0.05)
    steps = Machine(0.01, token_s, noise).run(budget, 40, num_decoding)
    bound_s = 0.3 * AIMED_SHARE if num_decoding else ALONE_STEP_S
    assert all(step_s <= bound_s * 2 for _, step_s in steps)
    late = steps[20:]
    mean_s = sum(step_s for _, step_s in late) / len(late)
    assert mean_s <= bound_s * 1.2
    assert mean_s >= bound_s * 0.5 or late[-1][0] == 512


def test_step_of_high_fixed_cost_is_not_made_short_in_vain():
    budget = PrefillBudget(512, first_token_s=0.02)
    Machine(0.01, 0.001).run(budget, 20)
    steps = Machine(0.3, 0.001).run(budget, 60)
    num_tokens = sum(num for num, _ in steps)
    seconds = sum(step_s for _, step_s in steps)
    assert seconds / num_tokens < 0.006, "the fixed cost eats the time"


def test_steps_grow_again_when_the_machine_is_quiet():
    budget = PrefillBudget(512, first_token_s=0.02)
    Machine(0.2, 0.004, noise=0.5).run(budget, 60)
    late = Machine(0.01, 0.001).run(budget, 60)[40:]
    assert max(step_s for _, step_s in late) <= ALONE_STEP_S * 1.3
    assert sum(num for num, _ in late) / len(late) > 120


def test_slow_model_gets_least_steps():
    steps = Machine(0.5, 0.1).run(PrefillBudget(512, first_token_s=0.6), 30)
    assert sum(num == SMALL_TOKENS for num, _ in steps) > 20
    assert max(step_s for _, step_s in steps) < 2.5


def test_runner_with_a_small_batch_is_never_asked_for_more():
    for first_token_s in (0.0, 0.01, 100.0):
        steps = Machine(0.01, 0.0001).run(PrefillBudget(4, first_token_s), 30)
        assert {num for num, _ in steps} == {4}
    with_decode = Machine(0.01, 0.0001).run(PrefillBudget(20, 0.01), 30)
    assert max(num for num, _ in with_decode) <= 20


@pytest.mark.parametrize("max_gap_s", [0.15, 0.3, 1.0])
@pytest.mark.parametrize("token_s", [0.0002, 0.002, 0.005])
def test_gap_of_running_streams_stays_within_its_bound(max_gap_s, token_s):
    budget = PrefillBudget(4096, 0.01, max_gap_s)
    machine = Machine(0.006, token_s, noise=0.5)
    steps = machine.run(budget, 300, num_decoding=3)[30:]
    seconds = sorted(step_s for _, step_s in steps)
    assert seconds[int(0.95 * len(seconds))] <= max_gap_s
    num_tokens = sum(num for num, _ in steps)
    if num_tokens > SMALL_TOKENS * len(steps):  # else even the least steps fill the bound
        assert sum(seconds) / num_tokens <= 1.5 * 1.25 * token_s, "the reader waits too long"


def test_a_rare_slow_step_does_not_stop_the_reading():
    budget = PrefillBudget(4096, 0.01, 0.3)
    machine = Machine(0.006, 0.001)
    nums = []
    for step in range(200):
        num = budget.tokens(num_decoding=2)
        nums.append(num)
        slow = 5 if step % 20 == 0 else 1
        budget.note(num + 2, slow * (machine.fixed_s + num * machine.token_s))
    assert sum(nums[40:]) / 160 > 80


@pytest.mark.parametrize("outlier_s", [1.5, 4.8, 30.0])
@pytest.mark.parametrize("num_slow", [1, 2, 3])
def test_least_steps_that_were_slow_let_no_step_grow_beyond_measure(outlier_s, num_slow):
    """Seen: a step of 9 tokens took 4.8 s, and those behind it read 57, 113, 225 and 449."""
    budget = PrefillBudget(2048, 0.2, 0.3)
    machine = Machine(0.15, 0.013, noise=0.3)
    machine.run(budget, 30, num_decoding=1)
    for _ in range(num_slow):
        budget.note(SMALL_TOKENS + 1, outlier_s)
    steps = machine.run(budget, 200, num_decoding=1)
    assert max(step_s for _, step_s in steps) < 1.2
    assert sum(num for num, _ in steps) / len(steps) >= SMALL_TOKENS


@pytest.mark.parametrize("fixed_s", [0.0005, 0.01, 0.1])
def test_machine_on_which_tokens_cost_nothing_reads_large_pieces(fixed_s):
    budget = PrefillBudget(2048, fixed_s, 0.3)
    steps = Machine(fixed_s, 0.000002, noise=0.1).run(budget, 300, num_decoding=1)
    assert sum(num for num, _ in steps) / len(steps) > 1000
