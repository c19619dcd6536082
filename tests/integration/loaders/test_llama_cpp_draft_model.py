"""A draft model beside another: which fit, what they guess, and that replies stay as they are."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import llama_cpp
import pytest

from tests.bert_gguf import random_bert, write_bert_gguf
from tests.integration.loaders.conftest import TEST_MODEL, opened, request_of, text_of
from tests.integration.loaders.test_llama_cpp_speculation import SLOTS, Eager, Recorder, write
from tests.tiny_gguf import write_tiny_gguf
from tests.unit.engine.drafter_contract import DrafterContract
from webui.engine.drafter import DraftRow
from webui.engine.drafting import Drafting
from webui.engine.loader import ModelSpec
from webui.engine.model_draft import ModelDraft
from webui.engine.process import LocalEngine
from webui.engine.runner import Row, Sampled
from webui.errors import EngineError, LoadFailed
from webui.loaders.llama_cpp import LOADER, LlamaCppOptions
from webui.loaders.llama_cpp.draft_model import DraftModel
from webui.loaders.llama_cpp.runner import LlamaCppRunner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

NUM = 40
NAMES = ["The quick brown", "A hearth", "abc", "Once upon a time there was"]
OPTIONS = {
    "context_length": 256,
    "slots": SLOTS,
    "batch_size": 256,
    "threads": 1,
    "flash_attn": "on",  # as the target has it, so that the same model gives the same numbers
}


@pytest.fixture(scope="module")
def target_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_gguf(tmp_path_factory.mktemp("target") / "target.gguf", is_quantized=True)


@pytest.fixture
def target(target_path: Path) -> Iterator[Recorder]:
    runner = Recorder(target_path, speculation="ngram")  # with flash attention
    yield runner
    runner.close()


@pytest.fixture
def open_draft(target: Recorder) -> Iterator[Callable[..., DraftModel]]:
    """Opens draft models for the target, and closes them."""
    there: list[DraftModel] = []

    def open_one(path: Path, **options: object) -> DraftModel:
        given = LlamaCppOptions.model_validate(OPTIONS | options)
        model = DraftModel(path, target.vocabulary, 256, given, lambda _: None)
        there.append(model)
        return model

    yield open_one
    for model in there:
        model.close()


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"num_words": 129}, r"it has 390 tokens, the model 261, and 128 may differ"),
        ({"add_bos": True}, "its texts begin with token 256, the model's with no token"),
    ],
)
def test_model_of_another_vocabulary_is_refused(
    tmp_path: Path, open_draft: Callable[..., DraftModel], other: dict[str, bool], said: str
) -> None:
    path = write_tiny_gguf(tmp_path / "other.gguf", **other)
    with pytest.raises(LoadFailed, match=said) as caught:
        open_draft(path)
    assert "other.gguf does not fit" in caught.value.message
    assert caught.value.hint


def test_model_whose_token_says_something_else_is_refused(tmp_path: Path) -> None:
    models = [
        write_tiny_gguf(tmp_path / f"{word}.gguf", says=[word.encode(), b"so "])
        for word in ("moon", "star")
    ]
    runner = LlamaCppRunner(models[0], "m", LlamaCppOptions(**OPTIONS), lambda _: None)
    try:
        with pytest.raises(LoadFailed, match=r"token 261 is 'star', in the model 'moon'"):
            DraftModel(models[1], runner.vocabulary, 256, LlamaCppOptions(**OPTIONS), print)
    finally:
        runner.close()


def test_model_that_splits_text_another_way_is_refused(
    noise: Path, open_draft: Callable[..., DraftModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = iter([llama_cpp.LLAMA_VOCAB_TYPE_BPE, llama_cpp.LLAMA_VOCAB_TYPE_SPM])
    monkeypatch.setattr(llama_cpp, "llama_vocab_type", lambda _: next(kinds))
    with pytest.raises(LoadFailed, match="its kind of vocabulary is SPM, the model's is BPE"):
        open_draft(noise)


def test_model_of_the_same_vocabulary_is_taken_though_it_has_some_words_more(
    tmp_path: Path, open_draft: Callable[..., DraftModel]
) -> None:
    assert open_draft(write_tiny_gguf(tmp_path / "more.gguf", num_words=128)).context_length == 256


def test_context_of_a_draft_model_is_at_most_what_it_was_trained_for(
    tmp_path: Path, open_draft: Callable[..., DraftModel]
) -> None:
    short = open_draft(write_tiny_gguf(tmp_path / "short.gguf", context_length=128))
    assert short.context_length == 128


def greedy(runner: Recorder, tokens: list[int], num: int) -> list[int]:
    """Return the likeliest tokens as the target sees them, one by one."""
    runner.forget(0, 0)
    runner.open_sampler(0, request_of("", temperature=0).params, tokens)
    runner.forward([Row(0, tokens[:-1], 0, sample=False)])
    said = list(tokens)
    for _ in range(num):
        (result,) = runner.forward([Row(0, said[-1:], len(said) - 1, sample=True)])
        assert isinstance(result, Sampled)
        said.append(result.token)
    runner.close_sampler(0)
    return said[len(tokens) :]


def ask(slot: int, tokens: list[int], num: int = 8) -> DraftRow:
    return DraftRow(slot, tokens, num)


def test_draft_model_guesses_what_it_would_say_in_any_company_and_order(
    target: Recorder, target_path: Path, open_draft: Callable[..., DraftModel]
) -> None:
    prompts = [target.tokenize(name * 3, special=False) for name in NAMES]
    right = [greedy(target, prompt, 8) for prompt in prompts]
    model = open_draft(target_path)
    rows = [ask(slot, prompt) for slot, prompt in enumerate(prompts)]
    assert model.propose(rows) == right
    assert model.propose(rows[::-1]) == right[::-1]
    for row, guess in zip(rows, right, strict=True):
        assert model.num_missing(row) == 0
        # What held stays, the rest is taken back: after three tokens of its own another comes.
        went_on = [*row.tokens, *guess[:3]]
        assert model.num_missing(ask(row.slot, went_on)) == 0
        turned = [*went_on, 65, 66]
        assert model.num_missing(ask(row.slot, turned)) == 1
        assert model.propose([ask(row.slot, turned)]) == [greedy(target, turned, 8)]


class TestDraftModel(DrafterContract):
    @pytest.fixture
    def drafter(self, target_path: Path, open_draft: Callable[..., DraftModel]) -> DraftModel:
        return open_draft(target_path)


def test_text_longer_than_a_batch_is_read_in_several(
    target: Recorder, target_path: Path, open_draft: Callable[..., DraftModel]
) -> None:
    model = open_draft(target_path, batch_size=32)
    tokens = [65 + n % 26 for n in range(90)]
    assert model.propose([ask(0, tokens), ask(1, tokens[1:])]) == [
        greedy(target, tokens, 8),
        greedy(target, tokens[1:], 8),
    ]


def test_guess_that_the_model_does_not_know_ends_the_draft(
    tmp_path: Path, open_draft: Callable[..., DraftModel]
) -> None:
    says = [b"Hi", b" you"]
    model = open_draft(write_tiny_gguf(tmp_path / "larger.gguf", says=says))
    assert model.propose([ask(0, [10])]) == [[]]


def test_token_that_the_draft_model_does_not_know_disturbs_nothing(
    tmp_path: Path, noise: Path
) -> None:
    larger = write_tiny_gguf(tmp_path / "larger.gguf", num_words=20)
    runner = LlamaCppRunner(larger, "larger", LlamaCppOptions(**OPTIONS), lambda _: None)
    model = DraftModel(noise, runner.vocabulary, 256, LlamaCppOptions(**OPTIONS), lambda _: None)
    try:
        (guess,) = model.propose([ask(0, [65, 270, 66, 275])])
        assert len(guess) == 8
        assert model.num_missing(ask(0, [65, 270, 66, 275, 67])) == 0
    finally:
        model.close()
        runner.close()


def test_end_of_the_reply_is_not_guessed(
    tmp_path: Path, open_draft: Callable[..., DraftModel]
) -> None:
    model = open_draft(write_tiny_gguf(tmp_path / "brief.gguf", says=[b"a", b"b"]))
    assert model.propose([ask(0, [10])]) == [list(b"ab")]


def test_numbers_that_are_none_are_an_error(
    tmp_path: Path, open_draft: Callable[..., DraftModel]
) -> None:
    model = open_draft(write_tiny_gguf(tmp_path / "broken.gguf", broken_token=65))
    with pytest.raises(EngineError, match="no number"):
        model.propose([ask(0, [65, 66])])


@pytest.mark.parametrize("num", [1, 3, SLOTS])
@pytest.mark.parametrize("seed", [0, 1])
def test_greedy_text_and_logits_are_equal_to_the_bit(
    tmp_path: Path, target: Recorder, open_draft: Callable[..., DraftModel], num: int, seed: int
) -> None:
    """With a draft model that is the model itself (seed 0), and with one that knows nothing."""
    path = write_tiny_gguf(tmp_path / "draft.gguf", seed=seed, is_quantized=True)
    requests = [
        request_of("", name, temperature=0, max_tokens=NUM, ignore_eos=True) for name in NAMES[:num]
    ]
    texts, logits, _ = write(target, None, requests)
    model = ModelDraft(open_draft(path), time.monotonic)
    drafting = Drafting(target, 31, Eager(), model, looks_up=False)
    again, logits_again, ends = write(target, drafting, requests)
    assert again == texts
    assert logits_again == logits
    usages = [end.usage for end in ends.values()]
    assert all(usage.drafted_tokens for usage in usages)
    held = sum(u.accepted_tokens for u in usages) / sum(u.drafted_tokens for u in usages)
    assert held > 0.9 if seed == 0 else held < 0.2


@pytest.mark.parametrize("speculation", ["auto", "draft"])
async def test_worker_has_both_models_and_says_the_same(
    tmp_path: Path, target_path: Path, speculation: str
) -> None:
    asked = {"temperature": 0, "max_tokens": 200, "ignore_eos": True}
    options = {"context_length": 512, "slots": 2, "speculation": speculation}
    async with opened(
        target_path, **options | {"speculation": "off", "flash_attn": "on"}
    ) as engine:
        plain, end = await text_of(engine, request_of("Hello", **asked))
        alone = engine.info.memory
        assert end.usage.drafted_tokens == 0
    told: list[float] = []
    spec = ModelSpec(
        "m", "m", target_path, LOADER, LlamaCppOptions(**options, draft_model=str(target_path))
    )
    engine = await LocalEngine.open(spec, told.append)
    try:
        text, end = await text_of(engine, request_of("Hello", **asked))
        both = engine.info.memory
        stats = engine.stats
    finally:
        await engine.close()
    assert text == plain
    assert end.usage.drafted_tokens > 0
    assert end.usage.accepted_tokens > 0
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert any(0.4 < fraction < 0.6 for fraction in told)
    assert both.weights_bytes == 2 * alone.weights_bytes
    assert both.kv_bytes == 2 * alone.kv_bytes
    assert stats.num_deaths == 0


@pytest.mark.parametrize("draft", ["gone.gguf", "cut.gguf", "vectors.gguf", "other.gguf"])
async def test_load_says_what_is_wrong_with_the_draft_model(
    tmp_path: Path, target_path: Path, draft: str
) -> None:
    whole = write_tiny_gguf(tmp_path / "whole.gguf").read_bytes()
    (tmp_path / "cut.gguf").write_bytes(whole[: len(whole) // 2])
    write_bert_gguf(tmp_path / "vectors.gguf", random_bert())
    write_tiny_gguf(tmp_path / "other.gguf", num_words=500)
    with pytest.raises(LoadFailed, match=draft):
        async with opened(target_path, draft_model=str(tmp_path / draft)):
            pass


def test_model_that_guesses_for_itself_knows_all_that_it_says(target_path: Path) -> None:
    """The model of `WEBUI_TEST_MODEL` where one is named: greedily every guess holds."""
    path = Path(os.environ.get(TEST_MODEL) or target_path)
    target = Recorder(path, speculation="draft", draft_model=str(path))
    model = DraftModel(path, target.vocabulary, 256, LlamaCppOptions(**OPTIONS), lambda _: None)
    try:
        requests = [
            request_of("", name, temperature=0, max_tokens=NUM, ignore_eos=True)
            for name in NAMES[:2]
        ]
        texts, logits, _ = write(target, None, requests)
        drafting = Drafting(target, 15, Eager(), ModelDraft(model, time.monotonic), looks_up=False)
        again, logits_again, ends = write(target, drafting, requests)
        assert again == texts
        assert logits_again == logits
        for end in ends.values():
            assert end.usage.accepted_tokens == end.usage.drafted_tokens > NUM / 2
    finally:
        model.close()
        target.close()
