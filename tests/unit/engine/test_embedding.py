"""What a model may be asked of texts."""

from __future__ import annotations

import pytest

from tests.unit.engine.fake_runner import FakeRunner
from tests.unit.engine.test_embed_loop import request_of
from webui.engine.embedding import check_can_embed
from webui.engine.interface import ModelInfo, Pooling
from webui.errors import InvalidRequest


def info_of(**fields: object) -> ModelInfo:
    info = FakeRunner().info
    known = {name: getattr(info, name) for name in ModelInfo.__struct_fields__}
    return ModelInfo(**known | fields)


def test_model_without_vectors_of_tokens_refuses_them_by_name():
    info = info_of(can_embed_tokens=False)
    with pytest.raises(InvalidRequest, match="whole texts alone") as caught:
        check_can_embed(request_of("a", pooling=Pooling.NONE), info)
    assert caught.value.field == "pooling"
    for pooling in (None, Pooling.MEAN, Pooling.CLS, Pooling.LAST):
        check_can_embed(request_of("a", pooling=pooling), info)


@pytest.mark.parametrize("pooling", [None, *(p for p in Pooling if p is not Pooling.RANK)])
def test_any_other_model_takes_every_pooling(pooling):
    check_can_embed(request_of("a", pooling=pooling), info_of())


def test_ranking_has_a_pooling_of_its_own():
    ranker = info_of(can_embed=False, can_rerank=True)
    check_can_embed(request_of("a", query="q", pooling=Pooling.RANK), ranker)
    with pytest.raises(InvalidRequest, match="with pooling 'rank' only") as caught:
        check_can_embed(request_of("a", query="q", pooling=Pooling.MEAN), ranker)
    assert caught.value.field == "pooling"
