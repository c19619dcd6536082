import pytest

from webui.engine.prefill_budget import ALONE_STEP_S, MIN_TOKENS, SHARED_STEP_S, PrefillBudget


@pytest.mark.parametrize("token_s", [0.00005, 0.001, 0.01])
@pytest.mark.parametrize("num_decoding", [0, 2])
def test_steps_settle_below_their_bound_and_use_most_of_it(token_s, num_decoding):
    budget = PrefillBudget(512, first_token_s=0.05)
    steps_s = []
    for _ in range(30):
        num = budget.tokens(num_decoding=num_decoding)
        steps_s.append(0.001 + num * token_s)
        budget.note(num, steps_s[-1])
    bound_s = SHARED_STEP_S if num_decoding else ALONE_STEP_S
    assert all(step_s <= bound_s * 1.25 for step_s in steps_s)
    assert steps_s[-1] > bound_s * 0.5 or num == 512


def test_slow_step_shrinks_the_next_one_at_once():
    budget = PrefillBudget(512, first_token_s=0.001)
    num = budget.tokens(num_decoding=0)
    budget.note(num, 2.0)
    assert budget.tokens(num_decoding=0) * 2.0 / num <= ALONE_STEP_S


def test_bounds_hold():
    assert PrefillBudget(512, first_token_s=100).tokens(num_decoding=0) == MIN_TOKENS
    assert PrefillBudget(512, first_token_s=0).tokens(num_decoding=0) == 512
    assert PrefillBudget(4, first_token_s=100).tokens(num_decoding=1) == 4


def test_small_steps_teach_nothing():
    budget = PrefillBudget(512, first_token_s=0.01)
    before = budget.tokens(num_decoding=0)
    budget.note(1, 5.0)
    assert budget.tokens(num_decoding=0) == before
