"""How many layers fit which cards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tiny_gguf import NOISE_TOKENS, NUM_LAYERS, write_tiny_gguf
from webui.hub.gguf import read_parts
from webui.loaders.llama_cpp import LlamaCppOptions
from webui.loaders.llama_cpp.gpu_fit import (
    MARGIN_BYTES,
    Demand,
    demand_of,
    fitted,
    num_fitting,
    num_on_cards,
)

if TYPE_CHECKING:
    from pathlib import Path

GIB = 1024**3
# Four layers of 1 GiB with a cache of a quarter, and an output of 2 GiB.
FOUR = Demand((GIB,) * 4 + (2 * GIB,), (GIB // 4,) * 4 + (0,), GIB // 2)
ALL = 5


def options_of(**options: object) -> LlamaCppOptions:
    return LlamaCppOptions.model_validate(options)


@pytest.mark.parametrize(
    ("free", "num"),
    [
        (0, 0),
        (3.4, 0),  # the output, the margin and the scratch take 3.5
        (3.5, 1),
        (4.74, 1),
        (4.75, 2),
        (8.49, 4),
        (8.5, ALL),
        (99, ALL),
    ],
)
def test_one_card_takes_the_last_layers_that_fit(free: float, num: int) -> None:
    assert num_fitting(FOUR, [int(free * GIB)]) == num


def test_without_cards_nothing_fits() -> None:
    assert num_fitting(FOUR, []) == 0
    assert num_fitting(FOUR, [0, 0]) == 0


def test_two_cards_share_by_what_is_free() -> None:
    # Three layers on the first, then a layer and the output on the second.
    assert num_fitting(FOUR, [int(5.3 * GIB), int(4.8 * GIB)]) == ALL
    assert num_fitting(FOUR, [int(5.3 * GIB), int(4.7 * GIB)]) < ALL


def test_shares_that_were_set_count() -> None:
    free = [99 * GIB, 4 * GIB]
    assert num_fitting(FOUR, free) == ALL
    assert num_fitting(FOUR, free, [1, 0]) == ALL
    assert num_fitting(FOUR, free, [1]) == ALL  # a card without a share gets none
    assert num_fitting(FOUR, free, [1, 1]) == 3  # the output alone on the second
    assert num_fitting(FOUR, free, [0, 1]) == 1


def test_rows_are_shared_and_the_cache_is_not() -> None:
    free = [int(5.3 * GIB), int(5.3 * GIB)]
    assert num_fitting(FOUR, free, is_by_rows=True) == ALL  # 3 GiB and up to 0.75 each
    assert num_fitting(FOUR, [free[0], 4 * GIB], [1, 1], is_by_rows=True) < ALL


@given(
    weights=st.lists(st.integers(0, 2 * GIB), min_size=2, max_size=12),
    free=st.lists(st.integers(0, 12 * GIB), min_size=1, max_size=4),
    more=st.integers(0, 4 * GIB),
    is_by_rows=st.booleans(),
)
def test_what_fits_is_never_more_than_is_free(
    weights: list[int], free: list[int], more: int, is_by_rows: bool
) -> None:
    cache = (*(one // 8 for one in weights[:-1]), 0)
    demand = Demand(tuple(weights), cache, GIB // 8)
    num = num_fitting(demand, free, is_by_rows=is_by_rows)
    assert 0 <= num <= len(weights)
    start = len(weights) - num
    taken = sum(weights[start:]) + sum(cache[start:])
    assert taken <= sum(max(0, one - MARGIN_BYTES) for one in free)
    # One card with more room never takes fewer.
    assert num_fitting(demand, [free[0] + more]) >= num_fitting(demand, [free[0]])


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_tiny_gguf(tmp_path / "tiny.gguf")


def test_demand_of_a_file_is_what_its_tensors_and_the_cache_take(tiny: Path) -> None:
    header, tensors = read_parts(tiny)
    demand = demand_of(header, tensors, options_of(context_length=256, slots=3))
    sizes = {tensor.name: tensor.num_bytes for tensor in tensors}
    layers = [
        sum(num for name, num in sizes.items() if name.startswith(f"blk.{layer}."))
        for layer in range(NUM_LAYERS)
    ]
    output = sizes["output.weight"] + sizes["output_norm.weight"]
    assert demand.weights == (*layers, output)
    # Two heads of 16 numbers, keys and values, of two bytes, in each cell.
    assert demand.cache == (2 * 16 * 2 * 2 * 256 * 3, 2 * 16 * 2 * 2 * 256 * 3, 0)
    assert demand.scratch >= 256 * NOISE_TOKENS * 4


def test_demand_follows_the_options(tiny: Path) -> None:
    header, tensors = read_parts(tiny)

    def demand(**options: object) -> Demand:
        return demand_of(header, tensors, options_of(**options))

    plain = demand(context_length=512)
    assert demand(context_length=1024).cache[0] == 2 * plain.cache[0]
    assert demand(context_length=512, cache_type_k="f32", cache_type_v="f32").cache[0] == (
        2 * plain.cache[0]
    )
    assert demand(context_length=512, offload_kqv=False).cache == (0, 0, 0)
    assert demand(context_length=512, flash_attn="off").scratch > plain.scratch
    assert demand(context_length=512, ubatch_size=32).scratch < plain.scratch
    assert demand() == demand(context_length=2048)  # what the model was trained for


def test_tied_output_and_experts_count_where_they_lie(tiny: Path) -> None:
    header, tensors = read_parts(tiny)
    by_name = {tensor.name: tensor for tensor in tensors}
    tied = [tensor for tensor in tensors if tensor.name != "output.weight"]
    output = by_name["token_embd.weight"].num_bytes + by_name["output_norm.weight"].num_bytes
    assert demand_of(header, tied, LlamaCppOptions()).weights[-1] == output
    expert = by_name["blk.0.ffn_up.weight"]
    moved = type(expert)("blk.0.ffn_up_exps.weight", expert.shape, expert.kind, 777, 0)
    for options, added in (({}, 777), ({"cpu_moe": True}, 0), ({"n_cpu_moe": 1}, 0)):
        with_experts = demand_of(header, [*tensors, moved], options_of(**options)).weights[0]
        without = demand_of(header, tensors, options_of(**options)).weights[0]
        assert with_experts - without == added


def test_auto_becomes_a_number_where_there_are_cards(tiny: Path) -> None:
    auto = LlamaCppOptions(context_length=256)
    assert fitted(auto, tiny, [8 * GIB]).gpu_layers == NUM_LAYERS + 1
    assert fitted(auto, tiny, [MARGIN_BYTES]).gpu_layers == 0
    assert fitted(auto, tiny, []) is auto


def test_number_that_was_set_stays(tiny: Path) -> None:
    for num in (0, 1, 999):
        options = LlamaCppOptions(gpu_layers=num)
        assert fitted(options, tiny, [8 * GIB]) is options


def test_only_the_main_card_counts_where_the_model_is_not_split(tiny: Path) -> None:
    free = [8 * GIB, 0]
    for card, num in ((0, NUM_LAYERS + 1), (1, 0), (7, 0)):
        options = options_of(context_length=256, split_mode="none", main_gpu=card)
        assert fitted(options, tiny, free).gpu_layers == num


def test_room_is_left_for_a_draft_model(tiny: Path) -> None:
    header, tensors = read_parts(tiny)
    alone = demand_of(header, tensors, options_of(flash_attn="on"))
    options = options_of(flash_attn="on", draft_model=str(tiny))
    assert demand_of(header, tensors, options).scratch == alone.scratch + tiny.stat().st_size
    unused = options_of(flash_attn="on", draft_model=str(tiny), speculation="ngram")
    assert demand_of(header, tensors, unused).scratch == alone.scratch


@pytest.mark.parametrize(
    ("gpu_layers", "num_cards", "expected"), [(-1, 1, 31), (12, 2, 12), (99, 1, 31), (12, 0, None)]
)
def test_layers_on_cards_are_told(gpu_layers: int, num_cards: int, expected: int | None) -> None:
    assert num_on_cards(options_of(gpu_layers=gpu_layers), 31, num_cards=num_cards) == expected
