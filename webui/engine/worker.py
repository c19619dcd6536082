"""The child process: one loop owns the model, other threads make prompts and tokens.

Knows the socket and the threads; what is computed is the business of `model_loop`. The main
thread runs the loop, a reader thread takes mail, one thread makes prompts, one what takes long for
a sampler, one the tokens of texts (see `preparer`), a heartbeat thread says how long the present
step takes, one ends steps that take much longer than they should. The loop's mail queue is the only
hand-over; one lock keeps frames of loop and heartbeat apart. A cancel that makes the running step
useless ends it at once (`step_abort`).
"""

from __future__ import annotations

import ctypes
import os
import queue
import signal
import socket
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from webui.engine import ipc
from webui.engine.disk_states import DiskStates
from webui.engine.drafting import Drafting
from webui.engine.embed_loop import EmbedLoop
from webui.engine.embed_texts import TextMaker
from webui.engine.generation_loop import GenerationLoop
from webui.engine.mail import (
    Aborted,
    Announced,
    Expired,
    Mail,
    Prepared,
    Purged,
    Refused,
    TextMail,
    TextsAnnounced,
    TextsPrepared,
)
from webui.engine.model_draft import ModelDraft
from webui.engine.model_loop import ModelLoop
from webui.engine.neighbours import Neighbours
from webui.engine.prefill_budget import PrefillBudget
from webui.engine.prefix_cache import PrefixCache
from webui.engine.preparer import Preparer
from webui.engine.prompt import PromptMaker
from webui.engine.prompt_cut import trimmed
from webui.engine.runner import Row, RowFailed, RunnerSpec
from webui.engine.step_abort import StepAbort
from webui.engine.text_pace import TextPace
from webui.errors import EngineError
from webui.sampling_params import SamplingParams

if TYPE_CHECKING:
    from webui.engine.interface import EmbedRequest, GenerateRequest
    from webui.engine.runner import ModelRunner, OpenedModel, OpenModel
    from webui.engine.stats import EngineStats

HEARTBEAT_S = 1.0
COUNT_S = 0.5  # between two looks at the figures while there is work
READ_BYTES = 1 << 16
STOP_S = 0.25  # for a text that is being read when the model is closed
PR_SET_PDEATHSIG = 1


def run(open_model: OpenModel) -> NoReturn:
    """Serve one model over the socket whose number is the first argument; never returns."""
    _harden()
    link = socket.socket(fileno=int(sys.argv[1]))
    code = 0
    try:
        _Worker(link).serve(open_model)
    except BaseException:  # noqa: BLE001 - the rim: the last line on stderr reaches the user
        traceback.print_exc()
        code = 1
    _exit(code)


class _Worker:
    """Threads and mail of one child.

    Args:
        link: Connected to the web process.
    """

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._send_lock = threading.Lock()
        self._mail: queue.SimpleQueue[Mail | TextMail | ipc.Load | ipc.Quit] = queue.SimpleQueue()
        self._prompts: Preparer[GenerateRequest] = Preparer("template", self._hand_on, self._send)
        self._samplers: Preparer[Prepared] = Preparer("samplers", self._mail.put, self._send)
        self._texts: Preparer[EmbedRequest] = Preparer("texts", self._mail.put, self._send)
        self._step_abort = StepAbort()
        self._stats: EngineStats | None = None  # made by the loop, sent by the heartbeat
        self._counted_s = 0.0
        self._sent_s = 0.0
        self._step_begun_s: float | None = None
        self._runner: ModelRunner

    def serve(self, open_model: OpenModel) -> None:
        """Load what the first message names, then generate until told to quit."""
        threading.Thread(target=self._read, name="reader", daemon=True).start()
        threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()
        load = self._mail.get()
        if not isinstance(load, ipc.Load):
            raise ipc.BadFrame("the first message is not a load")
        try:
            opened = open_model(_spec(load), self._report_progress)
        except EngineError as error:
            self._send(ipc.LoadError(error.message, error.hint, error.field))
            return
        try:
            loop = self._open_loop(opened, load)
        except EngineError as error:
            self._send(ipc.LoadError(error.message, error.hint, error.field))
        else:
            self._send(ipc.Loaded(opened.info))
            self._generate(loop)
            loop.close()
        # Who still reads a text uses the model; the end of the process frees it as well.
        if self._prompts.stop(STOP_S) and self._samplers.stop(STOP_S) and self._texts.stop(STOP_S):
            opened.close()

    def _open_loop(self, opened: OpenedModel, load: ipc.Load) -> ModelLoop:
        embedding = self._open_embedding(opened)
        if (runner := opened.runner) is None:
            return ModelLoop(None, embedding, None, time.monotonic)
        cache, disk = self._open_cache(load.cache, opened.info.state_key)
        token_s, max_gap_s = _warm_up(runner), load.max_gap_ms / 1000
        budget = PrefillBudget(runner.max_batch_tokens, token_s, max_gap_s)
        generation = self._open_generation(runner, opened, budget, cache)
        if disk is not None:
            disk.wait_listed()
        pace = None
        if (embedder := opened.embedder) is not None:
            pace = TextPace(PrefillBudget(embedder.max_batch_tokens, token_s, max_gap_s))
        return ModelLoop(generation, embedding, pace, time.monotonic)

    def _open_generation(
        self,
        runner: ModelRunner,
        opened: OpenedModel,
        budget: PrefillBudget,
        cache: PrefixCache,
    ) -> GenerationLoop:
        maker = PromptMaker(runner)

        def prepare(request: GenerateRequest, arrived_s: float) -> Prepared:
            try:
                made, prompt = maker.make(request)
                return Prepared(
                    made,
                    prompt,
                    arrived_s,
                    num_shared=maker.num_shared(made, prompt),
                    num_kept=maker.num_kept(made, prompt),
                    trimmed=trimmed(request, made),
                )
            finally:
                maker.forget()

        def make_sampler(prepared: Prepared, _arrived_s: float) -> Prepared:
            runner.prepare_sampler(prepared.request.params, prepared.request.grammar)
            return prepared

        self._runner = runner
        self._samplers.start(make_sampler)
        self._prompts.start(prepare)
        model = ModelDraft(opened.drafter, time.monotonic) if opened.drafter else None
        drafting = Drafting(runner, opened.max_draft, model=model, looks_up=opened.looks_up)
        chooses_threads = runner.info.max_threads > 1
        if (opened.max_draft or chooses_threads) and not _can_drop_tail(runner):
            drafting.stop()
        elif chooses_threads:  # what is broken off can be made anew
            threading.Thread(target=self._step_abort.watch, name="limits", daemon=True).start()
        return GenerationLoop(
            runner,
            budget,
            time.monotonic,
            cache=cache,
            drafting=drafting,
            step_abort=self._step_abort,
            tell=self._send,
            num_free_cores=Neighbours().num_free_cores,
        )

    def _open_cache(
        self, spec: ipc.CacheSpec, state_key: str
    ) -> tuple[PrefixCache, DiskStates | None]:
        if not (spec.folder and spec.disk_bytes and state_key):
            return PrefixCache(spec.ram_bytes), None
        disk = DiskStates(Path(spec.folder), spec.disk_bytes, state_key, self._mail.put)
        disk.start()
        return PrefixCache(spec.ram_bytes, disk), disk

    def _open_embedding(self, opened: OpenedModel) -> EmbedLoop | None:
        embedder = opened.embedder
        if embedder is None:
            return None
        maker = TextMaker(embedder)

        def prepare(request: EmbedRequest, _arrived_s: float) -> TextsPrepared:
            return TextsPrepared(request, maker.make(request))

        self._texts.start(prepare)
        return EmbedLoop(embedder, tell=self._send)

    def _generate(self, loop: ModelLoop) -> None:
        while True:
            while not loop.has_work or not self._mail.empty():
                if (mail := self._next_mail(loop)) is None:
                    continue
                self._step_begun_s = time.monotonic()
                if isinstance(mail, ipc.Quit):
                    return
                assert not isinstance(mail, ipc.Load)
                if isinstance(mail, Aborted):
                    self._step_abort.taken(mail.request_id)
                for message in loop.take(mail):
                    self._send(message)
            self._step_begun_s = time.monotonic()
            for message in loop.step():
                self._send(message)
            if self._step_begun_s - self._counted_s >= COUNT_S:
                self._count(loop)

    def _count(self, loop: ModelLoop) -> None:
        self._counted_s = time.monotonic()
        self._stats = loop.stats

    def _next_mail(self, loop: ModelLoop) -> Mail | TextMail | ipc.Load | ipc.Quit | None:
        """Wait for mail; do meanwhile what can wait. None when there is work without mail."""
        while True:
            if not loop.has_work:
                self._count(loop)
            waits_since_s = time.monotonic()
            self._step_begun_s = None
            try:
                return self._mail.get(timeout=loop.idle_s)
            except queue.Empty:
                self._step_begun_s = time.monotonic()
                if loop.has_work:
                    return None
                loop.idle()
            finally:
                loop.note_wait(time.monotonic() - waits_since_s)

    def _read(self) -> None:
        """Take mail until the other side is gone; then there is nothing left to live for."""
        decoder = ipc.ToWorkerDecoder()
        try:
            while data := self._link.recv(READ_BYTES):
                for message in decoder.feed(data):
                    self._sort(message)
        except ConnectionError:
            pass
        except ipc.BadFrame as error:
            sys.stderr.write(f"bad message from the web process: {error}\n")
            _exit(1)
        _exit(0)

    def _sort(self, message: ipc.ToWorker) -> None:
        match message:
            case ipc.Add():
                self._mail.put(Announced(message.request.request_id))
                self._prompts.give(message.request)
            case ipc.Embed():
                self._mail.put(TextsAnnounced(message.request.request_id))
                self._texts.give(message.request)
            case ipc.Abort():
                self._prompts.drop(message.request_id)
                self._samplers.drop(message.request_id)
                self._texts.drop(message.request_id)
                self._step_abort.cancel(message.request_id)
                self._mail.put(Aborted(message.request_id))
            case ipc.Purge():
                self._mail.put(Purged(message.owner, message.conversation_id))
            case ipc.Expire():
                self._mail.put(Expired(message.before_ns))
            case ipc.Quit():
                self._step_abort.quit()
                self._mail.put(message)
            case ipc.Load():
                self._mail.put(message)

    def _hand_on(self, mail: Prepared | TextsPrepared | Refused) -> None:
        """Give the loop what is ready; who waits for their sampler holds up nobody else."""
        if isinstance(mail, Prepared) and not self._runner.is_sampler_prepared(
            mail.request.params, mail.request.grammar
        ):
            self._samplers.give(mail)
        else:
            self._mail.put(mail)

    def _beat(self) -> None:
        told: EngineStats | None = None
        while True:
            now_s = time.monotonic()
            step_s = 0.0 if (begun_s := self._step_begun_s) is None else now_s - begun_s
            busy_s = max(step_s, self._prompts.busy_s, self._samplers.busy_s, self._texts.busy_s)
            # Text is a sign of life, too; every message wakes the web process.
            stats = self._stats if self._stats != told else None
            if stats or busy_s >= HEARTBEAT_S or now_s - self._sent_s >= HEARTBEAT_S:
                self._send(ipc.Heartbeat(busy_s, stats))
                told = stats or told
            time.sleep(HEARTBEAT_S)

    def _report_progress(self, fraction: float) -> None:
        self._send(ipc.LoadProgress(min(1.0, max(0.0, fraction))))

    def _send(self, message: ipc.ToParent) -> None:
        frame = ipc.encode(message)
        with self._send_lock:
            try:
                self._link.sendall(frame)
                self._sent_s = time.monotonic()
            except OSError:
                _exit(0)  # the web process is gone


def _warm_up(runner: ModelRunner) -> float:
    """Make one token, which shows that the model can; return the seconds it took.

    Raises:
        EngineError: It cannot.
    """
    first = runner.bos_id if runner.bos_id >= 0 else runner.tokenize("Hello", special=False)[0]
    runner.open_sampler(0, SamplingParams(temperature=0), [first])
    begun_s = time.monotonic()
    (result,) = runner.forward([Row(0, [first], 0, sample=True)])
    if isinstance(result, RowFailed):
        raise result.error
    took_s = time.monotonic() - begun_s
    runner.close_sampler(0)
    runner.forget(0, 0)
    return took_s


def _can_drop_tail(runner: ModelRunner) -> bool:
    """Return whether the model can forget the last token it read and keep those before."""
    first = runner.bos_id if runner.bos_id >= 0 else runner.tokenize("Hello", special=False)[0]
    runner.open_sampler(0, SamplingParams(temperature=0), [first])
    runner.forward([Row(0, [first, first], 0, sample=False)])
    runner.close_sampler(0)
    can_drop = runner.forget(0, 1)
    runner.forget(0, 0)
    return can_drop


def _spec(load: ipc.Load) -> RunnerSpec:
    return {
        "model_id": load.model_id,
        "name": load.name,
        "path": load.path,
        "options": load.options,
    }


def _harden() -> None:
    """Die with the parent, leave no core, and let the parent answer Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _exit(code: int) -> NoReturn:
    """End at once: threads may be inside the model's library, which must not be torn down."""
    sys.stderr.flush()
    os._exit(code)
