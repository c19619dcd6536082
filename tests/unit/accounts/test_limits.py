"""Which of several limits holds."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from webui.accounts.limits import Limits, effective, read_limits

NONE = Limits()


@pytest.mark.parametrize(
    ("own", "groups", "default", "wanted"),
    [
        ({}, [], {}, None),
        ({}, [], {"tokens_per_day": 5}, 5),
        ({}, [{"tokens_per_day": 9}], {"tokens_per_day": 5}, 9),
        ({}, [{"tokens_per_day": 2}], {"tokens_per_day": 5}, 2),
        ({}, [{"tokens_per_day": 2}, {"tokens_per_day": 7}, {}], {}, 7),
        ({}, [{"tokens_per_day": 2}, {"tokens_per_day": None}], {"tokens_per_day": 5}, None),
        ({"tokens_per_day": 1}, [{"tokens_per_day": None}], {"tokens_per_day": 5}, 1),
        ({"tokens_per_day": None}, [{"tokens_per_day": 2}], {"tokens_per_day": 5}, None),
        ({"storage_bytes": 1}, [], {"tokens_per_day": 5}, 5),
    ],
)
def test_own_goes_before_the_most_generous_group_before_the_default(
    own, groups, default, wanted
) -> None:
    found = effective(Limits(**own), [Limits(**one) for one in groups], Limits(**default))
    assert found.tokens_per_day == wanted
    assert found.model_fields_set == set(Limits.model_fields)


@pytest.mark.parametrize(
    "wrong", [{"tokens_per_day": -1}, {"requests_at_once": 0}, {"x": 1}, {"tokens_per_day": "5"}]
)
def test_limit_that_makes_no_sense_is_refused(wrong) -> None:
    with pytest.raises(ValidationError):
        Limits(**wrong)


def test_saved_limits_are_read_as_far_as_they_are_known() -> None:
    saved = {"tokens_per_day": None, "requests_at_once": 0, "of_tomorrow": 5, "storage_bytes": 3}
    assert read_limits(saved).saved() == {"tokens_per_day": None, "storage_bytes": 3}
    assert read_limits({}).saved() == NONE.saved() == {}
