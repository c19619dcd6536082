"""What is told of the parameters and seeds of a reply."""

from webui.chat.written_with import NOTHING, WrittenWith, by_message, drawn, written_with
from webui.sampling_params import SamplingParams


def saved(**params):
    return SamplingParams(**params).model_dump(mode="json")


def test_seed_is_drawn_only_where_none_was_asked_for():
    assert drawn(SamplingParams(seed=5)).seed == 5
    seeds = {drawn(SamplingParams()).seed for _ in range(9)}
    assert min(seeds) >= 0
    assert len(seeds) > 1
    assert SamplingParams(seed=max(seeds)), "one that can be asked for"


def test_parameters_that_are_not_the_defaults_are_told_and_every_seed():
    runs = [saved(seed=1, top_k=3), saved(seed=2, temperature=1.5, stop=("a",))]
    assert written_with(runs) == WrittenWith({"temperature": 1.5, "stop": ["a"]}, (1, 2))
    assert written_with([saved(seed=0)]) == WrittenWith({}, (0,))
    assert written_with([]) == NOTHING


def test_long_parameter_is_cut_and_lost_seed_is_unknown():
    told = written_with([saved(system_prompt="x" * 5000) | {"seed": None}])
    assert told.seeds == (-1,)
    assert len(told.params["system_prompt"]) < 400


def test_runs_are_sorted_by_the_message_they_wrote():
    assert by_message([("a", {"n": 1}), ("b", {}), ("a", {"n": 2})]) == {
        "a": [{"n": 1}, {"n": 2}],
        "b": [{}],
    }
