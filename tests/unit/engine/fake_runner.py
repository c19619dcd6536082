"""A runner that counts: what it says depends on nothing but the tokens of its own sequence.

Keeps its "KV cells" as lists and checks every row against them, so that a scheduler that mixes
sequences up, skips or repeats a token fails here. Tokens are bytes, and two halves of a crab.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import time
import zlib
from array import array
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict

from tests.unit.engine.fake_embedder import FakeEmbedder
from tests.unit.engine.taken_sampler import TakenSampler
from webui.engine.adapters import Adapter
from webui.engine.interface import Memory, ModelInfo
from webui.engine.runner import OpenedModel, RowFailed, Sampled, StepAborted, Verified
from webui.errors import EngineError, LoadFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from webui.engine.interface import GrammarTrigger
    from webui.engine.runner import Row, RowResult, RunnerSpec
    from webui.sampling_params import SamplingParams

MARK = 1 << 20  # what a cell is more than its token, for each set of scales
BOS, EOS, CRAB_HEAD, CRAB_TAIL = 256, 257, 258, 259
CRAB = "🦀".encode()
TEMPLATE = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
DEEDS = {b"fail now", b"crash now", b"hang now", b"raise now", b"show environment"}
# What a worker might send in place of a message, and whether it dies right behind it.
BAD_FRAMES = {
    b"send garbage now": (b"\x00\x00\x00\x03abc", False),
    b"send too much now": (b"\xff\xff\xff\xff", False),
    b"send nothing now": (b"\x00\x00\x00\x00", False),
    b"send half now": (b"\x00\x00\x01\x00\x82\xa4ty", True),
    b"send half a header now": (b"\x00\x00", True),
}
VOWELS = "root ::= [aeiou]*"  # the one grammar that its letters keep to
LETTERS = b"abcdefghijklmnopqrstuvwxyz  \n"


def mark_of(scales: Sequence[float]) -> int:
    """Return what cells are more than their tokens where adapters work so strongly."""
    return (1 + zlib.crc32(repr(tuple(scales)).encode()) % 1000) * MARK if any(scales) else 0


class FakeOptions(BaseModel):
    """How the made-up model behaves.

    Attributes:
        step_s: Each step takes so long.
        token_s: And each of its tokens so long.
        tokenize_s: Each call of the tokenizer takes so long.
        load_s: Loading takes so long.
        on_load: What happens at the end of it.
        once: A file; where it exists already, `on_load` passes and deadly words are harmless.
        can_cut: Whether the memory can be cut.
        can_shift: Whether its cells can move.
        kv_cells: Cells that all slots share; None when each has its own.
        max_threads: Up to how many threads may be chosen; 0 keeps one.
        adapters: LoRA adapters it has, whose scales change what it says.
        scales: Whether so many threads make a step so many times as fast.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    context_length: int = 512
    slots: int = 2
    kv_cells: int | None = None
    max_threads: int = 0
    adapters: int = 0
    scales: bool = False
    max_batch_tokens: int = 64
    step_s: float = 0.0
    token_s: float = 0.0
    tokenize_s: float = 0.0
    load_s: float = 0.0
    on_load: Literal[
        *("pass", "murmur", "refuse", "refuse_again", "crash", "crash_again"),
        *("garbage", "huge", "hang"),
    ] = "pass"
    once: str = ""
    can_cut: bool = True
    can_shift: bool = True


class FakeRunner:
    """Obeys `ModelRunner`; words in a prompt make it misbehave (see `_misbehave`)."""

    def __init__(self, options: FakeOptions | None = None, name: str = "counting") -> None:
        self.options = options or FakeOptions()
        self.info = ModelInfo(
            name=name,
            context_length=self.options.context_length,
            num_slots=self.options.slots,
            num_threads=1,
            memory=Memory(weights_bytes=1, kv_bytes=2, compute_bytes=3),
            can_embed=True,
            embedding_size=2,
            max_text_tokens=32,
            kv_cells=self.options.kv_cells,
            state_key=f"counting {self.options.context_length}",
            max_threads=self.options.max_threads,
            adapters=tuple(Adapter(f"{i}.gguf", 1.0) for i in range(self.options.adapters)),
        )
        self.max_batch_tokens = self.options.max_batch_tokens
        self.chat_template = TEMPLATE
        self.add_bos = True
        self.bos_id = BOS
        self.num_steps = 0
        self.threads: list[tuple[int, int]] = []  # as they were set
        self.num_tokens_read = 0
        self.num_saved = 0
        self.num_shifts = 0
        self.num_restored = 0
        self.is_closed = False
        self._cells: dict[int, list[int]] = {slot: [] for slot in range(self.options.slots)}
        self._mark = 0  # of the scales
        self.num_lora_changes = 0
        self._samplers: dict[int, SamplingParams] = {}
        self.grammars: dict[int, str] = {}
        self.prepared: list[tuple[SamplingParams, str]] = []
        self.triggers: dict[int, tuple[GrammarTrigger, ...]] = {}
        self._reply_begins: dict[int, int] = {}
        self._banned: dict[int, frozenset[int]] = {}  # for the next token
        self._by_slot = [self._samplers, self.grammars, self.triggers, self._reply_begins]
        self.taken: list[TakenSampler] = []  # samplers, neither put back nor closed
        self.num_opened = 0
        self.is_aborting = False
        self.num_aborted = 0
        self.on_step: Callable[[Sequence[Row]], None] = lambda rows: None  # while it computes

    def bos_eos(self) -> tuple[str, str]:
        return "<s>", "</s>"

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        time.sleep(self.options.tokenize_s)
        if "crash the tokenizer" in text:
            os.kill(os.getpid(), signal.SIGABRT)
        return list(text.encode())

    def is_sampler_prepared(self, params: SamplingParams, grammar: str) -> bool:
        return not (grammar or params.dry_multiplier) or (params, grammar) in self.prepared

    def prepare_sampler(self, params: SamplingParams, grammar: str) -> None:
        self.prepared.append((params, grammar))

    def token_bytes(self, token: int) -> bytes:
        if token < BOS:
            return bytes([token])
        return {CRAB_HEAD: CRAB[:2], CRAB_TAIL: CRAB[2:]}.get(token, b"")

    def is_eog(self, token: int) -> bool:
        return token == EOS

    def open_sampler(
        self,
        slot: int,
        params: SamplingParams,
        tokens: Sequence[int],
        *,
        num_reply: int = 0,
        banned: frozenset[int] = frozenset(),
        grammar: str = "",
        triggers: Sequence[GrammarTrigger] = (),
    ) -> None:
        assert banned or slot not in self._samplers, "a sampler was not closed"
        self.num_opened += 1
        self._samplers[slot] = params
        self._banned[slot] = banned
        self.grammars[slot] = grammar
        self._reply_begins[slot] = len(tokens) - num_reply
        self.triggers[slot] = tuple(triggers)

    def close_sampler(self, slot: int) -> None:
        self._samplers.pop(slot, None)

    def take_sampler(self, slot: int) -> TakenSampler | None:
        if slot not in self._samplers:
            return None
        kept = [each.pop(slot) for each in self._by_slot]
        return TakenSampler([*kept, self._banned.pop(slot, frozenset())], self.taken)

    def put_sampler(self, slot: int, sampler: TakenSampler) -> None:
        assert slot not in self._samplers, "a sampler was not closed"
        *kept, self._banned[slot] = sampler.parts
        for each, value in zip(self._by_slot, kept, strict=True):
            each[slot] = value
        sampler.close()

    def forward(self, rows: Sequence[Row]) -> list[RowResult]:
        assert not self.is_closed
        assert rows
        assert len({row.slot for row in rows}) == len(rows), "a slot twice in one step"
        num_tokens = sum(len(row.tokens) for row in rows)
        assert num_tokens <= self.max_batch_tokens
        self.num_steps += 1
        self.num_tokens_read += num_tokens
        for row in rows:
            cells = self._cells[row.slot]
            assert row.tokens
            assert row.slot in self._samplers
            assert row.position == len(cells), "a hole, or cells that were not forgotten"
            cells += [token + self._mark for token in row.tokens]
            assert {cell // MARK * MARK for cell in cells} == {self._mark}, "read with other scales"
            assert len(cells) <= self.options.context_length
        if self.options.kv_cells is not None:
            assert sum(map(len, self._cells.values())) <= self.options.kv_cells
        for row in rows:
            self._misbehave(self._cells[row.slot])
        num_threads = self.threads[-1][0] if self.options.scales and self.threads else 1
        if delay_s := (self.options.step_s + num_tokens * self.options.token_s) / num_threads:
            self._compute(delay_s)
        self.on_step(rows)
        if self.is_aborting:
            self.num_aborted += 1
            raise StepAborted
        return [self._result(row) if row.sample else None for row in rows]

    def _compute(self, delay_s: float) -> None:
        end_s = time.monotonic() + delay_s
        while not self.is_aborting and (left_s := end_s - time.monotonic()) > 0:
            time.sleep(min(left_s, 0.01))

    def set_abort(self, *, is_set: bool) -> None:
        self.is_aborting = is_set

    def forget(self, slot: int, from_position: int) -> bool:
        cells = self._cells[slot]
        if from_position and from_position < len(cells) and not self.options.can_cut:
            return False
        del cells[from_position:]
        return True

    def shift(self, slot: int, start: int, stop: int) -> bool:
        assert 0 <= start < stop < len(self._cells[slot])
        if not self.options.can_shift:
            return False
        del self._cells[slot][start:stop]
        self.num_shifts += 1
        return True

    def save_state(self, slot: int) -> memoryview | None:
        """Copy the cells, four bytes each."""
        self.num_saved += 1
        return memoryview(array("i", self._cells[slot])).cast("B")

    def load_state(self, slot: int, data: memoryview, num_tokens: int) -> bool:
        cells = array("i", data.tobytes()).tolist()
        if len(cells) > self.options.context_length or len(cells) != num_tokens:
            return False
        self.num_restored += 1
        self._cells[slot] = cells
        return True

    def close(self) -> None:
        self.is_closed = True

    def set_lora(self, scales: Sequence[float]) -> None:
        assert len(scales) in {0, self.options.adapters}
        mark = mark_of(scales)
        self.num_lora_changes += mark != self._mark
        self._mark = mark

    def set_threads(self, decode: int, batch: int) -> None:
        self.threads.append((decode, batch))

    def _result(self, row: Row) -> RowResult:
        result = self._sample(row.slot, row.num_draft)
        if not row.num_draft or isinstance(result, RowFailed):
            return result
        chosen = [result]
        for num_left in reversed(range(row.num_draft)):
            if chosen[-1].token != row.tokens[len(row.tokens) - num_left - 1]:
                break
            result = self._sample(row.slot, num_left)
            if isinstance(result, RowFailed):
                break
            chosen.append(result)
        return Verified(tuple(chosen))

    def _sample(self, slot: int, num_unseen: int) -> Sampled | RowFailed:
        cells = self._cells[slot]
        params = self._samplers[slot]
        cells = cells[: len(cells) - num_unseen]
        if self.text(cells[-4:]) == b"NaN!":
            return RowFailed(EngineError("No usable probabilities", "It was asked to."))
        token = self._keep(slot, cells, self._choose(cells, params))
        banned = self._banned.pop(slot, frozenset())
        while token in banned:
            token = (token + 1) % BOS
        if not params.logprobs:
            return Sampled(token)
        top = tuple((token + i, -1.0 - i) for i in range(params.top_logprobs))
        return Sampled(token, -1.0, top)

    def _choose(self, cells: list[int], params: SamplingParams) -> int:
        said = self.text(cells)
        asked, _, begun = said.rpartition(b"assistant: ")
        command = asked.rpartition(b"user: ")[2].rstrip(b"\n")
        if command.startswith(b"say "):
            return (command[4:] + bytes([0]))[len(begun)] or EOS
        seed = b"" if params.temperature == 0 else str(params.seed).encode()
        number = zlib.crc32(seed + hashlib.sha256(repr(cells).encode()).digest())
        if cells[-1] % MARK == CRAB_HEAD:
            return CRAB_TAIL
        if number % 40 == 0:
            return EOS
        return CRAB_HEAD if number % 7 == 0 else LETTERS[number // 1000 % len(LETTERS)]

    def _keep(self, slot: int, cells: Sequence[int], token: int) -> int:
        """Return a vowel where the grammar is at work, be it lazy or not."""
        if self.grammars[slot] != VOWELS or token >= BOS:
            return token
        said = self.text(cells[self._reply_begins[slot] :])
        triggers = self.triggers[slot]
        if triggers and not any(trigger.word.encode() in said for trigger in triggers):
            return token
        return b"aeiou"[token % 5]

    def text(self, cells: Sequence[int]) -> bytes:
        return b"".join(self.token_bytes(cell % MARK) for cell in cells)

    def _misbehave(self, cells: Sequence[int]) -> None:
        """Do what the last question asks for; deadly deeds only once where `once` is set."""
        deed = self.text(cells).rpartition(b"user: ")[2].partition(b"\n")
        if not deed[1] or deed[0] not in {*DEEDS, *BAD_FRAMES}:
            return
        if deed[0] != b"fail now" and self.options.once and self._was_here():
            return
        match deed[0]:
            case b"fail now":
                raise EngineError("The step failed", "It was asked to.")
            case b"crash now":
                os.write(2, b"\x1b[31mfake.cpp:7: FAKE_ASSERT(ok) failed\x1b[0m\n")
                os.kill(os.getpid(), signal.SIGABRT)
            case b"hang now":
                time.sleep(3600)
            case b"raise now":
                raise RuntimeError("a bug of the runner")
            case name if name in BAD_FRAMES:
                frame, is_last = BAD_FRAMES[name]
                os.write(int(sys.argv[1]), frame)
                if is_last:
                    os._exit(9)
                time.sleep(3600)
            case _:
                sys.stderr.write(" ".join(sorted(os.environ)) + "\n")
                os._exit(7)

    def _was_here(self) -> bool:
        """Return whether the file is there; it is from now on."""
        try:
            os.close(os.open(self.options.once, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return True
        return False


def open_fake(spec: RunnerSpec, on_progress: Callable[[float], None]) -> OpenedModel:
    """Open the made-up model; the child's side of `FakeLoader`."""
    options = FakeOptions.model_validate(spec["options"])
    for i in range(1, 11):
        time.sleep(options.load_s / 10)
        on_progress(i / 10)
    runner = FakeRunner(options, spec["name"])
    match options.on_load:
        case "murmur":
            os.write(2, b"failed to restore something\n")
        case "refuse_again" if not runner._was_here():
            pass
        case "refuse" | "refuse_again":
            raise LoadFailed("The file is not to my taste", "Try another one.")
        case "crash_again" if not runner._was_here():
            pass  # only the second life ends over the load
        case "crash" | "crash_again":
            os.write(2, b"fake.cpp:1: cannot stand this file\n")
            os.kill(os.getpid(), signal.SIGSEGV)
        case "hang":
            time.sleep(3600)  # heartbeats go on
        case "garbage":
            os.write(int(sys.argv[1]), b"\x00\x00\x00\x03abc")
            time.sleep(3600)
        case "huge":
            os.write(int(sys.argv[1]), b"\xff\xff\xff\xff")
            time.sleep(3600)
        case _:
            pass
    embedder = FakeEmbedder(text_s=options.step_s)
    return OpenedModel(runner.info, runner, embedder, runner.close)
