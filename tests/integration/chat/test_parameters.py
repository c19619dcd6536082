import asyncio

import pytest

from webui.chat.parameters import NAME
from webui.errors import InvalidRequest
from webui.sampling_params import SamplingParams
from webui.storage import settings as settings_table

pytestmark = pytest.mark.integration


async def test_parameters_are_kept_for_each_person(house):
    assert await house.parameters.get(house.me) == SamplingParams()
    params = SamplingParams(temperature=0, stop=("a", "b"), system_prompt="Be kind")
    assert await house.parameters.save(house.me, params) == params
    assert await house.parameters.get(house.me) == params
    assert await house.parameters.get(house.other) == SamplingParams()
    assert await house.parameters.reset(house.me) == SamplingParams()
    assert await house.parameters.get(house.me) == SamplingParams()


@pytest.mark.parametrize(
    "values",
    [
        {"temperature": 3},
        {"temperature": float("nan")},
        {"temperature": "hot"},
        {"temperature": None},
    ],
)
async def test_parameters_out_of_bounds_are_refused_naming_the_field(house, values):
    with pytest.raises(InvalidRequest) as caught:
        await house.parameters.save(house.me, values)
    assert caught.value.field == "temperature"
    assert await house.parameters.get(house.me) == SamplingParams()


async def test_parameters_unknown_name_is_refused(house):
    with pytest.raises(InvalidRequest) as caught:
        await house.parameters.save(house.me, {"heat": 1})
    assert caught.value.field == "heat"


async def test_parameters_of_an_older_schema_are_taken_as_far_as_valid(house):
    old = {"temperature": 99, "gone": 1, "seed": 5}
    await house.database.run(settings_table.put, "local", NAME, old)
    assert await house.parameters.get(house.me) == SamplingParams(seed=5)


async def test_parameters_of_a_message_are_those_saved_before_it(house, engine):
    await house.parameters.save(house.me, {"seed": 1})
    await house.begin()
    await house.parameters.save(house.me, {"seed": 2})

    async def asked():
        return bool(engine.requests)

    await house.until(asked)
    assert engine.requests[0].params.seed == 1


async def test_changes_made_at_once_are_all_kept(house):
    changes = [{"seed": 5}, {"top_k": 7}, {"temperature": 1.5}, {"stop": ("###",)}]
    await asyncio.gather(
        *(
            house.parameters.update(house.me, lambda saved, new=new: saved.model_copy(update=new))
            for new in changes
        )
    )
    wanted = SamplingParams(seed=5, top_k=7, temperature=1.5, stop=("###",))
    assert await house.parameters.get(house.me) == wanted


async def test_change_that_fails_leaves_all_as_it_was(house):
    await house.parameters.save(house.me, {"seed": 5})

    def refuse(_saved):
        raise InvalidRequest("no")

    with pytest.raises(InvalidRequest):
        await house.parameters.update(house.me, refuse)
    assert await house.parameters.get(house.me) == SamplingParams(seed=5)
