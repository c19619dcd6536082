"""Mail in, one forward pass, messages out: the loop that owns the model.

Knows the runner and the scheduler; knows neither threads nor sockets, so that it runs the same
in the worker, in tests and beside any runner.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from webui.engine.context_shift import make_room
from webui.engine.drafting import Drafting
from webui.engine.fetching import Fetching
from webui.engine.handing import Handing
from webui.engine.ipc import Begun, Output, Outputs, RequestError
from webui.engine.mail import (
    Aborted,
    Announced,
    Expired,
    Mail,
    Prepared,
    Purged,
    Refused,
    StateFetched,
    StatesListed,
    StateWritten,
)
from webui.engine.pace import Pace
from webui.engine.prefix_cache import PrefixCache
from webui.engine.present_stats import present_stats
from webui.engine.queue_news import QueueNews
from webui.engine.runner import RowFailed, StepAborted
from webui.engine.samplers import Samplers
from webui.engine.scheduler import Scheduler
from webui.engine.sequence import Sequence
from webui.engine.state_keeper import StateKeeper
from webui.engine.step_abort import StepAbort
from webui.engine.tally import Tally
from webui.engine.untold import Untold
from webui.errors import Busy, WebuiError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from collections.abc import Sequence as Several

    from webui.engine.ipc import ToParent
    from webui.engine.mail import StateMail
    from webui.engine.prefill_budget import PrefillBudget
    from webui.engine.runner import ModelRunner, Row, RowResult
    from webui.engine.states import State
    from webui.engine.stats import EngineStats


class GenerationLoop:
    """All sequences of one model; called by one thread.

    Args:
        runner: The open model.
        budget: How much of the prompts a step may read.
        clock: Monotonic seconds.
        scheduler: Who runs; made to measure when left out.
        cache: Keeps what was read; one in memory when left out.
        drafting: Guesses tokens for the model to check; None guesses none.
        step_abort: Ends a step that nobody wants any more; the loop's own ends none.
        tell: Tells the web process at once which replies are begun.
        num_free_cores: Says how many cores other processes leave; None is not known.

    Attributes:
        tally: Counts what is done.
    """

    def __init__(  # noqa: PLR0913 - each is a part of the loop
        self,
        runner: ModelRunner,
        budget: PrefillBudget,
        clock: Callable[[], float],
        scheduler: Scheduler | None = None,
        cache: PrefixCache | None = None,
        drafting: Drafting | None = None,
        step_abort: StepAbort | None = None,
        tell: Callable[[Begun], None] | None = None,
        num_free_cores: Callable[[], float | None] = lambda: None,
    ) -> None:
        self._runner = runner
        self._budget = budget
        self._clock = clock
        self._scheduler = scheduler or Scheduler(
            runner.info, max_batch_tokens=runner.max_batch_tokens
        )
        self._cache = cache or PrefixCache()
        self._keeper = StateKeeper(runner, self._scheduler, budget, self._cache, clock)
        self._handing = Handing(runner, self._scheduler, budget, self._cache.counts, clock)
        self._samplers = Samplers(runner)
        self._drafting = drafting or Drafting(runner, 0)
        self._step_abort = step_abort or StepAbort()
        self._tell_begun = tell or (lambda _begun: None)
        self.tally = Tally()
        self._preparing: dict[str, list[Purged]] = {}  # with what was purged meanwhile
        self._fetching = Fetching(self._cache.fetch)
        self._has_news = False  # since the last step: somebody may get a slot
        self._untold = Untold(clock())
        self._queue_news = QueueNews(self._scheduler)
        self._has_newcomers = False
        self._pace = Pace(runner.info, budget, num_free_cores)

    @property
    def has_work(self) -> bool:
        """Whether `step` has anything to do."""
        if self._scheduler.num_runnable or self._fetching.left_s(self._clock()) == 0:
            return True
        # While the disk is at work slots may be taken that others wait for.
        return bool(self._scheduler.num_waiting) and (
            self._has_news or not self._scheduler.num_running
        )

    def pause(self, pause_s: float) -> None:
        """Note that texts took time since the latest step; the next one reads less."""
        self._budget.pause(pause_s)

    @property
    def idle_s(self) -> float | None:
        """How long to be without work before `idle` has something to do; None if it has not."""
        left_s = self._fetching.left_s(self._clock())
        return self._keeper.idle_s if left_s is None else left_s

    @property
    def present(self) -> EngineStats:
        """How things stand now, and what the cache was good for."""
        return present_stats(self._scheduler, self._cache, self._pace)

    def idle(self) -> None:
        """Do a piece of what can wait; nothing while somebody waits for the disk."""
        if self._fetching.left_s(self._clock()) is None:
            self._keeper.idle()

    def close(self) -> None:
        """Keep what is to outlive the process, of replies that are being written too."""
        for sequence in self._scheduler.everybody:
            self._abort(sequence.request_id)
        self._keeper.close()

    def take(self, mail: Mail) -> list[ToParent]:
        """Take one piece of mail; return what is to be said about it at once."""
        self._has_news = True
        match mail:
            case Announced():
                self._preparing[mail.request_id] = []
            case Prepared():
                return self._add(mail)
            case Refused():
                if mail.request_id in self._preparing:
                    del self._preparing[mail.request_id]
                    return [RequestError.of(mail.request_id, mail.error)]
            case Aborted():
                self._abort(mail.request_id)
            case _:
                return self._take_states(mail)
        return []

    def _take_states(self, mail: StateMail) -> list[ToParent]:
        """Take mail about what was read before."""
        match mail:
            case Purged():
                self._purge(mail)
            case Expired():
                for slot in self._keeper.expire(mail.before_ns):
                    self._drafting.forget(slot)
            case StatesListed():
                self._cache.listed(mail.files, self._runner.info.context_length)
            case StateWritten():
                self._cache.written(mail)
            case StateFetched():
                state = self._cache.fetched(mail.file, mail.state)
                return self._go_on(self._fetching.take(mail.file.path), state)
            case _:
                assert_never(mail)
        return []

    def step(self) -> list[ToParent]:
        """Give out slots and cells, make one forward pass, return what is new."""
        self._has_news = False
        failures = self._go_on(self._fetching.take_late(self._clock()), None)
        failures += self._admit()
        told = [*self._grow(), *self._tell_places()]
        self._handing.hand_on()
        rows = self._scheduler.schedule(*self._pace.plan(num_decoding=self._scheduler.num_decoding))
        if rows:
            news, failed = self._forward(rows)
            told += news
            failures += failed
            self._keeper.spill()
            self._keeper.move_out()
        return [Outputs(told), *failures] if told else failures

    def _add(self, mail: Prepared) -> list[ToParent]:
        request_id = mail.request.request_id
        if (purged := self._preparing.pop(request_id, None)) is None:
            return []  # aborted meanwhile
        sequence = Sequence(
            mail.request,
            mail.prompt,
            context_length=self._runner.info.context_length,
            arrived_s=mail.arrived_s,
            num_shared=mail.num_shared,
            num_kept=mail.num_kept,
        )
        if any(sequence.belongs_to(each.owner, each.conversation_id) for each in purged):
            sequence.keeps_state = False
        told: list[ToParent] = []
        if mail.trimmed is not None:
            told = [Outputs([Output(request_id, mail.trimmed)])]
        try:
            self._scheduler.add(sequence)
        except Busy as error:
            return [*told, RequestError.of(request_id, error)]
        self._has_newcomers = True
        self.tally.note_queue(self._scheduler.num_waiting)
        return told

    def _go_on(self, held: Iterable[Sequence], state: State | None) -> list[ToParent]:
        """Let those go on that waited for a state, with it or without."""
        failures: list[ToParent] = []
        for sequence in held:
            self._keeper.restore(sequence, state)
            failures += self._open(sequence)
        return failures

    def _abort(self, request_id: str) -> None:
        is_early = self._preparing.pop(request_id, None) is not None
        self._fetching.forget(request_id)
        if (sequence := self._scheduler.abort(request_id)) is not None or is_early:
            self.tally.note_abort(None if sequence is None else sequence.usage())
        if sequence is not None:
            self._untold.forget(request_id)
            self._close([sequence])

    def _purge(self, mail: Purged) -> None:
        """Forget what was read for somebody."""
        for meanwhile in self._preparing.values():
            meanwhile.append(mail)
        self._keeper.purge(mail.owner, mail.conversation_id)
        self._drafting.purge(mail.owner, mail.conversation_id)

    def _admit(self) -> list[ToParent]:
        failures: list[ToParent] = []
        admitted = self._scheduler.admit(self._clock())
        self._drop_evicted()
        for slot, sequence in admitted.vacated.items():
            self._has_newcomers = True
            self._samplers.keep(slot, sequence.request_id)
            self._fetching.forget(sequence.request_id)
            self._forget(slot, sequence)
        if admitted.placed:
            self._tell_begun(Begun([sequence.request_id for sequence in admitted.placed]))
        for sequence in admitted.placed:
            self._drafting.begin(sequence)
            if (file := self._keeper.file_for(sequence)) is not None:
                self._keeper.cut(sequence, sequence.num_read)
                self._fetching.ask(sequence, file, self._clock())
                continue
            self._keeper.restore(sequence)
            failures += self._open(sequence)
        return failures

    def _open(self, sequence: Sequence) -> list[ToParent]:
        """Make cells and sampler of a sequence those of what it has read and written."""
        self._keeper.cut(sequence, sequence.num_read)
        try:
            self._samplers.open(sequence)
        except WebuiError as error:
            self._scheduler.abort(sequence.request_id)
            self._close([sequence])
            return [RequestError.of(sequence.request_id, error)]
        return []

    def _reopen(self, sequences: Iterable[Sequence]) -> list[ToParent]:
        """Let sequences that took tokens back go on from there."""
        failures: list[ToParent] = []
        for sequence in sequences:
            sequence.is_rewound = False
            self._drafting.rewind(sequence)
            failures += self._open(sequence)
        return failures

    def _grow(self) -> list[Output]:
        """Let running sequences have their next cells; return what those tell that got none."""
        full = [*make_room(self._runner, self._scheduler), *self._scheduler.grow()]
        self._untold.note(full)
        self._close(full)
        self._drop_evicted()
        return self._tell() if full else []

    def _drop_evicted(self) -> None:
        """Keep what slots held that others need, then drop it."""
        self._keeper.save(self._scheduler.residents.take_displaced())
        for slot in self._scheduler.take_evicted():
            self._runner.forget(slot, 0)

    def _tell_places(self) -> list[Output]:
        news = self._queue_news.take(self._clock(), has_newcomers=self._has_newcomers)
        self._has_newcomers = False
        return [Output(request_id, queued) for request_id, queued in news.items()]

    def _forward(self, rows: list[Row]) -> tuple[list[Output], list[ToParent]]:
        """Make a step; return what it has to tell, and the errors of rows that failed alone."""
        begun_s = self._clock()
        sequences = self._scheduler.sequences(rows)
        rows = self._drafting.extend(rows, sequences, self._scheduler.num_spare_cells)
        if num_threads := self._pace.change_threads(rows):
            self._runner.set_threads(num_threads, num_threads)
            self._drafting.set_threads(num_threads, num_threads)
        try:
            ids = (sequence.request_id for sequence in sequences)
            limit_s = self._pace.limit_s(rows)
            self._runner.set_lora(sequences[0].scales)
            with self._step_abort.step(ids, self._runner.set_abort, limit_s):
                results = self._runner.forward(rows)
        except StepAborted:  # too slow, or the mail that says why is here, or on its way
            now_s = self._clock()
            self.tally.note_lost(rows, sequences, now_s - begun_s)
            if self._step_abort.is_too_slow:
                self._pace.note_broken(rows, now_s - begun_s, now_s)
            self._undo(rows, sequences)
            return [], []
        except WebuiError as error:
            self.tally.note_lost(rows, sequences, self._clock() - begun_s)
            return self._tell(), self._doubt(rows, error)
        now_s = self._clock()
        touched = self._scheduler.update(rows, results, self._runner, now_s)
        self._keeper.share(touched)
        self._note_step(rows, results, sequences, begun_s, now_s)
        self._untold.note(touched)
        ended = [sequence for sequence in touched if sequence.finish_reason is not None]
        self._close(ended)
        if not self._keeper.drop_wrong_guesses(rows, sequences):
            self._drafting.stop()
        failures = self._reopen(sequence for sequence in touched if sequence.is_rewound)
        for row, result in zip(rows, results, strict=True):
            if isinstance(result, RowFailed):
                failures += self._fail([row], result.error)
        is_due = self._untold.is_due(now_s, now_s - begun_s, len(rows))
        return (self._tell() if ended or failures or is_due else []), failures

    def _note_step(
        self,
        rows: Several[Row],
        results: Several[RowResult],
        sequences: Several[Sequence],
        begun_s: float,
        now_s: float,
    ) -> None:
        """Let all learn from a step who plan the next ones."""
        step_s = now_s - begun_s
        self.tally.note_step(rows, sequences, step_s)
        self._drafting.note(rows, results, sequences, step_s)
        step_s -= self._drafting.model_s  # which says nothing about steps of this model
        self._scheduler.note_step(rows, step_s)
        self._pace.note(rows, step_s, now_s)

    def _tell(self) -> list[Output]:
        """Return what came since the last time."""
        return self._untold.take(self._clock())

    def _doubt(self, rows: Several[Row], error: WebuiError) -> list[ToParent]:
        """After a failed step: undo it and let its rows run one at a time; a lone one fails."""
        if len(rows) == 1 and not rows[0].num_draft:
            return self._fail(rows, error)
        self._undo(rows, self._scheduler.doubt(rows))
        return []

    def _undo(self, rows: Several[Row], sequences: Several[Sequence]) -> None:
        """Make the cells what they were before a step that came to nothing."""
        for row, sequence in zip(rows, sequences, strict=True):
            self._keeper.cut(sequence, row.position)

    def _fail(self, rows: Several[Row], error: WebuiError) -> list[ToParent]:
        failed = self._scheduler.fail(rows)
        self._close(failed)
        for sequence in failed:
            self._runner.forget(sequence.slot, 0)
        return [RequestError.of(sequence.request_id, error) for sequence in failed]

    def _close(self, sequences: Iterable[Sequence]) -> None:
        for sequence in sequences:
            self._samplers.close(sequence)
            self._forget(sequence.slot, sequence)

    def _forget(self, slot: int, sequence: Sequence) -> None:
        """Leave nothing in a slot of one that left it and leaves no trace."""
        if slot >= 0 and not sequence.keeps_state:
            self._runner.forget(slot, 0)
            self._drafting.forget(slot)
