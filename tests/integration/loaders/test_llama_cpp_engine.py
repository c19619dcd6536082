"""The whole way down: our process, its worker, llama.cpp and back."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import msgspec
import pytest

from tests.integration.loaders.conftest import SAYS, opened, request_of, spec_of, text_of
from tests.tiny_gguf import write_tiny_gguf
from webui.engine.interface import EngineState, Finish, FinishReason, Text, Trimmed
from webui.engine.process import LocalEngine
from webui.errors import ContextLengthExceeded, EngineDied, InvalidRequest, LoadFailed
from webui.messages import Message, Role

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]


async def test_model_loads_with_figures_and_progress(noise: Path) -> None:
    told: list[float] = []
    engine = await LocalEngine.open(spec_of(noise, slots=3, threads=1), told.append)
    try:
        info = engine.info
        assert (info.name, info.context_length, info.num_slots) == ("noise", 512, 3)
        assert info.num_threads == 1
        assert info.num_layers == 3, "the output is one"
        assert info.memory.weights_bytes > 300_000
        # 2 layers, 2 heads of 16 numbers, keys and values as f16
        assert info.memory.kv_bytes == pytest.approx(512 * 3 * 2 * 2 * 16 * 2 * 2, rel=0.02)
        assert info.memory.compute_bytes > 0
        assert len(info.chat_template_sha256) == 64
        assert told
        assert told == sorted(told)
    finally:
        await engine.close()


async def test_model_says_what_it_was_taught_and_stops(parrot: Path) -> None:
    async with opened(parrot) as engine:
        said, finish = await text_of(engine, request_of("Hi", temperature=0))
    assert said == b"".join(SAYS).decode()
    assert finish.reason is FinishReason.STOP
    assert finish.usage.completion_tokens == len(SAYS)


async def test_emoji_split_over_tokens_streams_whole(parrot: Path) -> None:
    async with opened(parrot) as engine:
        request = request_of("Hi", temperature=0)
        parts = [d.text async for d in engine.generate(request) if isinstance(d, Text)]
    assert all("\ufffd" not in part for part in parts)
    assert "".join(parts) == b"".join(SAYS).decode()


@pytest.mark.parametrize("stop", ["The end", " en", "🙂!", "d."])
async def test_stop_string_ends_the_reply_before_it(parrot: Path, stop: str) -> None:
    async with opened(parrot) as engine:
        said, finish = await text_of(engine, request_of("Hi", temperature=0, stop=(stop,)))
    assert said == b"".join(SAYS).decode().split(stop)[0]
    assert finish.reason is FinishReason.STOP


async def test_reply_ends_at_max_tokens(parrot: Path) -> None:
    async with opened(parrot) as engine:
        said, finish = await text_of(engine, request_of("Hi", temperature=0, max_tokens=2))
    assert said == "Hello wor"
    assert finish.reason is FinishReason.LENGTH
    assert finish.usage.completion_tokens == 2


@pytest.mark.parametrize("seed", [7, 8])
async def test_replies_written_together_equal_those_written_alone(
    best_model: Path, seed: int
) -> None:
    requests = [
        request_of(
            f"Question {i} " + "and more " * i,
            request_id=f"r{i}",
            seed=seed + i,
            temperature=[0, 0.8, 1.5][i % 3],
            repeat_penalty=[1.0, 1.2][i % 2],
            ignore_eos=True,
        )
        for i in range(6)
    ]
    async with opened(best_model, slots=3) as engine:
        alone = [await text_of(engine, request) for request in requests]
        together = await asyncio.gather(*(text_of(engine, request) for request in requests))
    assert [said for said, _ in together] == [said for said, _ in alone]
    assert len({said for said, _ in alone}) > 3


async def test_temperature_0_gives_the_same_text_twice(best_model: Path) -> None:
    async with opened(best_model) as engine:
        request = request_of("Tell me", temperature=0, ignore_eos=True)
        first, _ = await text_of(engine, request)
        second, _ = await text_of(engine, request)
    assert first
    assert first == second


async def test_seed_decides_the_text(best_model: Path) -> None:
    async with opened(best_model) as engine:
        said = {
            seed: (
                await text_of(engine, request_of("Hi", seed=seed, temperature=1.5, ignore_eos=True))
            )[0]
            for seed in (1, 2)
        }
        again, _ = await text_of(engine, request_of("Hi", seed=1, temperature=1.5, ignore_eos=True))
        unseeded = {
            (await text_of(engine, request_of("Hi", temperature=1.5, ignore_eos=True)))[0]
            for _ in range(3)
        }
    assert said[1] == again
    assert said[1] != said[2]
    assert len(unseeded) > 1


async def test_penalty_changes_the_greedy_text(noise: Path) -> None:
    async with opened(noise) as engine:
        plain, _ = await text_of(engine, request_of("Hi", temperature=0, ignore_eos=True))
        penalised, _ = await text_of(
            engine,
            request_of(
                "Hi", temperature=0, frequency_penalty=2, presence_penalty=2, ignore_eos=True
            ),
        )
    assert plain != penalised


async def test_message_over_the_context_is_refused_with_both_numbers(noise: Path) -> None:
    async with opened(noise) as engine:
        with pytest.raises(ContextLengthExceeded, match=r"\d{3,}.*512"):
            await text_of(engine, request_of("word " * 600))
        said, _ = await text_of(engine, request_of("Hi", ignore_eos=True))
        assert said


async def test_any_text_reaches_the_model(noise: Path) -> None:
    odd = "\x00\x1b[31m <|im_end|> \u202e 🏳️‍🌈 \ue000 日本語 " + "a" * 200
    async with opened(noise) as engine:
        _, finish = await text_of(engine, request_of(odd, max_tokens=1, ignore_eos=True))
    assert finish.usage.prompt_tokens > 200


async def test_half_a_surrogate_pair_is_refused(noise: Path) -> None:
    async with opened(noise) as engine:
        with pytest.raises(InvalidRequest):
            await text_of(engine, request_of("\ud800"))


async def test_closing_the_generator_frees_the_slot(noise: Path) -> None:
    async with opened(noise, slots=1) as engine:
        running = engine.generate(request_of("Hi", "a", max_tokens=400, ignore_eos=True))
        async for delta in running:
            if isinstance(delta, Text):
                break
        await running.aclose()
        said, _ = await text_of(engine, request_of("Hi", "b", ignore_eos=True))
        assert said


async def test_next_message_works_after_the_worker_was_killed(parrot: Path) -> None:
    async with opened(parrot) as engine:
        first_pid = engine.pid
        endless = {"max_tokens": 10_000, "ignore_eos": True, "context_overflow": "shift"}
        running = engine.generate(request_of("Hi", **endless))
        await anext(running)
        os.kill(first_pid, signal.SIGKILL)
        with pytest.raises(EngineDied):
            async for _ in running:
                pass
        said, _ = await text_of(engine, request_of("Hi", "next", temperature=0))
        assert said == b"".join(SAYS).decode()
        assert engine.pid != first_pid
        assert engine.state is EngineState.READY


async def test_second_turn_does_not_read_the_first_anew(noise: Path) -> None:
    async with opened(noise) as engine:
        first = request_of("Hi", temperature=0, max_tokens=5, ignore_eos=True)
        said, finish = await text_of(engine, first)
        turn = (*first.messages, Message(Role.ASSISTANT, said), Message(Role.USER, "More"))
        second = request_of("", request_id="r")
        second = type(second)(
            request_id="s",
            owner=first.owner,
            conversation_id=None,
            priority=first.priority,
            messages=turn,
            params=first.params,
        )
        _, again = await text_of(engine, second)
    assert again.usage.cached_tokens >= finish.usage.prompt_tokens - 1


def damaged(kind: str, folder: Path) -> Path:
    path = folder / "bad.gguf"
    if kind == "truncated":
        whole = write_tiny_gguf(path).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    elif kind == "pickle":
        path.write_bytes(b"\x80\x04\x95" + b"x" * 100)
    elif kind == "600 layers":
        write_tiny_gguf(path, metadata={"llama.block_count": 600})
    elif kind == "NaN":
        write_tiny_gguf(path, metadata={"llama.attention.layer_norm_rms_epsilon": float("nan")})
    elif kind == "heads that do not divide":
        write_tiny_gguf(path, metadata={"llama.attention.head_count": 7})
    elif kind == "one layer too many":
        write_tiny_gguf(path, metadata={"llama.block_count": 3})
    elif kind == "gone":
        path.unlink(missing_ok=True)
    return path


@pytest.mark.parametrize(
    "kind",
    [
        "truncated",
        "pickle",
        "600 layers",
        "NaN",
        "heads that do not divide",
        "one layer too many",
        "gone",
    ],
)
async def test_bad_file_is_refused_in_words(kind: str, tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match=r"bad") as caught:
        await LocalEngine.open(spec_of(damaged(kind, tmp_path)), lambda _: None)
    assert "Traceback" not in caught.value.message


async def test_context_longer_than_the_model_knows_is_refused(noise: Path) -> None:
    with pytest.raises(LoadFailed, match=r"4,096.*2,048"):
        await LocalEngine.open(spec_of(noise, context_length=4096), lambda _: None)


async def test_model_without_a_template_answers(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "bare.gguf", chat_template=None)
    async with opened(path) as engine:
        assert engine.info.chat_template_sha256 == ""
        said, _ = await text_of(engine, request_of("Hi", ignore_eos=True))
        assert said


async def test_model_with_a_broken_template_says_so(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "odd.gguf", chat_template="{% for %}")
    async with opened(path) as engine:
        with pytest.raises(InvalidRequest, match="chat template"):
            await text_of(engine, request_of("Hi"))


def test_process_that_runs_an_engine_loads_no_model_library(parrot: Path) -> None:
    script = textwrap.dedent(
        f"""
        import asyncio, sys
        from pathlib import Path
        from tests.integration.loaders.conftest import opened, request_of, text_of
        import webui.hub.catalog, webui.hub.starter, webui.loaders

        async def main():
            async with opened(Path({str(parrot)!r})) as engine:
                await text_of(engine, request_of("Hi", temperature=0))

        asyncio.run(main())
        print([name for name in ("llama_cpp", "torch", "transformers") if name in sys.modules])
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=50
    )
    assert done.stdout.strip() == "[]"


async def test_log_probabilities_come_over_the_pipe(best_model: Path) -> None:
    async with opened(best_model) as engine:
        request = request_of("Hi", max_tokens=5, logprobs=True, top_logprobs=2, ignore_eos=True)
        deltas = [delta async for delta in engine.generate(request)]
        plain = [delta async for delta in engine.generate(request_of("Hi", max_tokens=5))]
    tokens = [token for delta in deltas if isinstance(delta, Text) for token in delta.logprobs]
    said = "".join(delta.text for delta in deltas if isinstance(delta, Text))
    assert len(tokens) == 5
    spelled = b"".join(token.data for token in tokens)
    assert spelled.decode("utf-8", "replace").startswith(said)
    assert all(len(token.top) == 2 and token.logprob <= 0 for token in tokens)
    assert not any(delta.logprobs for delta in plain if isinstance(delta, Text))


async def test_replies_to_one_prompt_differ_by_their_seeds_alone(best_model: Path) -> None:
    async with opened(best_model, slots=3) as engine:
        replies = await asyncio.gather(
            *(
                text_of(engine, request_of("Hi", f"r{index}", seed=seed, temperature=1.5))
                for index, seed in enumerate((1, 2, 1))
            )
        )
    first, second, third = (said for said, _ in replies)
    assert first == third != second


@pytest.mark.parametrize("policy", ["drop_oldest", "cut_middle"])
async def test_conversation_goes_on_beyond_the_context(noise: Path, policy: str) -> None:
    asked = request_of("", max_tokens=8, temperature=0, context_overflow=policy, ignore_eos=True)
    said: list[Message] = []
    num_left_out = []
    async with opened(noise, context_length=256) as engine:
        for turn in range(24):
            said.append(Message(Role.USER, f"Question number {turn}?"))
            request = msgspec.structs.replace(asked, messages=tuple(said))
            answer = ""
            async for delta in engine.generate(request):
                if isinstance(delta, Trimmed):
                    num_left_out.append(delta.num_messages)
                if isinstance(delta, Text):
                    answer += delta.text
            assert isinstance(delta, Finish)
            assert delta.usage.completion_tokens == 8
            said.append(Message(Role.ASSISTANT, answer))
    assert num_left_out
    assert num_left_out == sorted(num_left_out)
