from __future__ import annotations

import math
from array import array

import pytest

from webui.engine.fake_vectors import EMBEDDING_SIZE, pooled, score, vector
from webui.engine.interface import Pooling


def cosine(left: str, right: str) -> float:
    pairs = zip(array("f", vector(left)), array("f", vector(right)), strict=True)
    return sum(a * b for a, b in pairs)


@pytest.mark.parametrize("text", ["", "word", "Two words", "你好", "a " * 1000, "?!"])
def test_vectors_are_of_length_one(text):
    numbers = array("f", vector(text))
    assert len(numbers) == EMBEDDING_SIZE
    assert math.hypot(*numbers) == pytest.approx(1, abs=1e-6)


def test_like_texts_have_like_vectors():
    assert vector("The river") == vector("the  RIVER!")
    assert cosine("the old river", "the old stone") > cosine("the old river", "garden bread")


def test_score_is_the_share_of_words():
    assert [array("f", score("old river", text))[0] for text in ("river", "an old river", "")] == [
        0.5,
        1.0,
        0.0,
    ]


def test_pooling_goes_by_the_tokens():
    tokens = ["old ", "grey ", "stone"]
    assert pooled(tokens, None) == pooled(tokens, Pooling.MEAN) == vector("old grey stone")
    assert pooled(tokens, Pooling.CLS) == vector("old")
    assert pooled(tokens, Pooling.LAST) == vector("stone")
    assert pooled(tokens, Pooling.NONE) == vector("old") + vector("grey") + vector("stone")


def test_vectors_keep_their_length_if_wanted():
    raw = array("f", pooled(["old ", "stone"], None, normalise=False))
    length = math.hypot(*raw)
    assert length > 2
    assert [number / length for number in raw] == pytest.approx(array("f", vector("old stone")))
