from __future__ import annotations

import pytest

from tests.unit.engine.fake_embedder import BEGIN, BETWEEN, FakeEmbedder
from tests.unit.engine.test_embed_loop import request_of
from webui.engine.embed_texts import COUNTED_CHARS, TextMaker
from webui.engine.embedding import MAX_NUMBERS
from webui.engine.interface import Pooling
from webui.errors import ContextLengthExceeded, InvalidRequest


@pytest.fixture
def embedder() -> FakeEmbedder:
    return FakeEmbedder()


@pytest.fixture
def maker(embedder) -> TextMaker:
    return TextMaker(embedder)


def make(maker, *inputs, **fields) -> list[list[int]]:
    return [list(tokens) for tokens in maker.make(request_of(*inputs, **fields))]


def test_texts_get_their_tokens(maker):
    assert make(maker, "ab", "") == [[BEGIN, 97, 98], [BEGIN]]


def test_too_long_a_text_names_both_numbers(maker):
    with pytest.raises(ContextLengthExceeded, match=r"Input 1 has 33 tokens.* reads 32 at") as info:
        make(maker, "ok", "a" * 32)
    assert info.value.field == "input"


def test_text_that_is_counted_quickly_is_counted_to_its_end(maker):
    with pytest.raises(ContextLengthExceeded, match=rf"has {COUNTED_CHARS + 1} tokens.* reads 32"):
        make(maker, "a" * COUNTED_CHARS)


def test_longest_text_passes(maker):
    assert len(make(maker, "a" * 31)[0]) == 32


def test_truncate_keeps_what_fits(maker):
    assert make(maker, "a" * 40 + "b", truncate=True) == [[BEGIN, *b"a" * 31]]


@pytest.mark.parametrize("truncate", [False, True])
def test_huge_text_is_not_read_to_its_end(maker, embedder, truncate):
    text = "a" * 1_000_000
    if truncate:
        assert len(make(maker, text, truncate=True)[0]) == 32
    else:
        with pytest.raises(ContextLengthExceeded, match=r"Input 0 has more than \d+ tokens"):
            make(maker, text)
    assert embedder.num_chars_read < 10_000


def test_text_of_many_characters_and_few_tokens_passes(maker, embedder):
    embedder.tokenize_text = lambda text, max_tokens: list(text.strip().encode())
    assert make(maker, " " * 100_000 + "a") == [[97]]


def test_text_without_tokens_is_refused(maker, embedder):
    embedder.tokenize_text = lambda text, max_tokens: list(text.encode())
    with pytest.raises(InvalidRequest, match="Input 1 is empty"):
        make(maker, "a", "")


def test_documents_are_paired_with_the_query(maker):
    assert make(maker, "x", "y", query="q") == [[BEGIN, 113, BETWEEN, c] for c in b"xy"]


def test_long_document_is_refused_or_cut(maker):
    with pytest.raises(ContextLengthExceeded, match="Document 0 has 34 tokens") as info:
        make(maker, "d" * 31, query="q")
    assert info.value.field == "documents"
    assert len(make(maker, "d" * 31, query="q", truncate=True)[0]) == 32


def test_long_query_is_refused_even_where_documents_are_cut(maker):
    with pytest.raises(ContextLengthExceeded, match="The query has 42 tokens") as info:
        make(maker, "d", query="q" * 40, truncate=True)
    assert info.value.field == "query"


def test_hint_names_what_helps_and_nothing_else(maker, embedder):
    def hint_of(**asked):
        with pytest.raises(ContextLengthExceeded) as info:
            make(maker, "d" * 40, **asked)
        return info.value.hint

    whole = "Shorten it, split it into several, or have it cut (truncate)."
    assert hint_of() == hint_of(query="q") == whole
    assert hint_of(query="q" * 40) == "Shorten it."
    embedder.longest_text_tokens = 2048
    longer = "load the model with a larger context_length, up to 2,048."
    assert hint_of() == f"Shorten it, split it into several, have it cut (truncate), or {longer}"
    assert hint_of(query="q" * 40) == f"Shorten it, or {longer}"


def test_vectors_of_tokens_are_bounded_and_those_of_texts_are_not(maker, embedder):
    embedder.size = MAX_NUMBERS // 4
    assert len(make(maker, "ab", "", pooling=Pooling.NONE)) == 2
    with pytest.raises(InvalidRequest, match="of 5 tokens have 10,485,760 numbers") as info:
        make(maker, "ab", "c", pooling=Pooling.NONE)
    assert info.value.field == "pooling"
    assert len(make(maker, "ab", "c", pooling=Pooling.MEAN)) == 2
