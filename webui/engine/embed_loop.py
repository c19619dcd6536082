"""Texts in, one batch of them a step or a part of one, vectors out.

Knows the embedder and whose turn it is; knows neither threads nor sockets nor replies. Owners
take turns text by text, so that one who sends thousands does not keep another waiting.
"""

from __future__ import annotations

import time
from bisect import insort
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never

from webui.engine.embedder import TextRow
from webui.engine.interface import Embedded, VectorPart
from webui.engine.ipc import Begun, Output, Outputs, RequestError
from webui.engine.mail import Aborted, Refused, TextMail, TextsAnnounced, TextsPrepared
from webui.engine.text_speed import TextSpeed
from webui.errors import Busy, EngineError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from webui.engine.embedder import Embedder
    from webui.engine.interface import EmbedRequest
    from webui.engine.ipc import ToParent

MAX_WAITING_TOKENS = 4_000_000
MAX_PART_BYTES = 2 << 20  # well below the longest frame


@dataclass(slots=True, eq=False)
class _Work:
    """A request and how far it has come.

    Attributes:
        request: What is asked.
        texts: Its tokens.
        next_index: The text that is next.
        is_dropped: Whether nobody wants its vectors any more.
    """

    request: EmbedRequest
    texts: Sequence[Sequence[int]]
    next_index: int = 0
    is_dropped: bool = False

    @property
    def num_waiting_tokens(self) -> int:
        return sum(map(len, self.texts[self.next_index :]))


@dataclass(frozen=True, slots=True)
class _Pick:
    """A text that has its turn."""

    work: _Work
    index: int

    @property
    def row(self) -> TextRow:
        return TextRow(self.work.texts[self.index], self.work.request.normalise)


class EmbedLoop:
    """All texts of one model; called by one thread.

    Args:
        embedder: The open model.
        max_waiting_tokens: Bound of the queue; an owner alone may take half of it, or one
            request of any length.
        tell: Tells the web process at once whose texts are begun.
        clock: Monotonic seconds.

    Attributes:
        num_read: Tokens that the latest step read.
    """

    def __init__(
        self,
        embedder: Embedder,
        max_waiting_tokens: int = MAX_WAITING_TOKENS,
        tell: Callable[[Begun], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._embedder = embedder
        self._tell = tell or (lambda _begun: None)
        self._max_waiting_tokens = max_waiting_tokens
        self._speed = TextSpeed(clock)
        self._preparing: set[str] = set()
        self._waiting: dict[str, list[_Work]] = {}  # by owner, next one first
        self._turns: dict[str, int] = {}  # when each owner had the latest, of those who wait
        self._num_turns = 0
        self._batch: list[_Pick] = []  # is being read
        self._suspects: deque[_Pick] = deque()  # of batches that failed; each is read alone
        self.num_read = 0

    @property
    def has_work(self) -> bool:
        """Whether `step` has anything to do."""
        return bool(self._batch or self._suspects or self._waiting)

    def take(self, mail: TextMail) -> list[ToParent]:
        """Take one piece of mail; return what is to be said about it at once."""
        match mail:
            case TextsAnnounced():
                self._preparing.add(mail.request_id)
            case TextsPrepared():
                return self._add(mail)
            case Refused():
                if mail.request_id in self._preparing:
                    self._preparing.discard(mail.request_id)
                    return [RequestError.of(mail.request_id, mail.error)]
            case Aborted():
                self._preparing.discard(mail.request_id)
                self._forget(mail.request_id)
            case _:
                assert_never(mail)
        return []

    def step(self, max_tokens: int | None = None) -> list[ToParent]:
        """Read a batch, or more of one; return its vectors once it is read.

        Args:
            max_tokens: How many tokens may be read at once; a model that reads whole texts reads
                one whatever its length. None leaves that to the model.
        """
        self.num_read = 0
        try:
            if not self._batch:
                self._begin(max_tokens)
            if not self._batch:
                return []
            read = self._embedder.read(max_tokens)
        except EngineError as error:
            return self._doubt(error)
        self.num_read = read.num_tokens
        has_more = read.vectors is None or bool(self._suspects or self._waiting)
        self._speed.note(read.num_tokens, has_more=has_more)
        return [] if read.vectors is None else self._done(read.vectors)

    def _begin(self, max_tokens: int | None) -> None:
        """Choose what is read next."""
        if self._suspects:
            picks = [self._suspects.popleft()]
        else:
            picks = self._pick(max_tokens)
            begun = [pick.work.request.request_id for pick in picks if not pick.index]
            if begun:
                self._tell(Begun(begun))
        if picks:
            self._batch = picks
            self._embedder.begin([pick.row for pick in picks], picks[0].work.request.pooling)

    def _done(self, vectors: Sequence[bytes]) -> list[ToParent]:
        """Return what tells the vectors of the batch."""
        picks, self._batch = self._batch, []
        outputs: list[ToParent] = []
        for pick, vector in zip(picks, vectors, strict=True):
            if not pick.work.is_dropped:
                _append(outputs, _parts(pick, vector))
        return outputs

    def _doubt(self, error: EngineError) -> list[ToParent]:
        """After a failed batch: read each of its texts alone; one that was alone fails."""
        picks, self._batch = self._batch, []
        if len(picks) > 1:
            self._suspects.extend(pick for pick in picks if not pick.work.is_dropped)
            return []
        request_id = picks[0].work.request.request_id
        picks[0].work.is_dropped = True
        self._forget(request_id)
        return [RequestError.of(request_id, error)]

    def _add(self, mail: TextsPrepared) -> list[ToParent]:
        request = mail.request
        if request.request_id not in self._preparing:
            return []  # aborted meanwhile
        self._preparing.discard(request.request_id)
        if (error := self._full(request.owner, sum(map(len, mail.texts)))) is not None:
            return [RequestError.of(request.request_id, error)]
        if not self.has_work:
            self._speed.begin()
        work = _Work(request, mail.texts)
        insort(self._waiting.setdefault(request.owner, []), work, key=_priority)
        self._turns.setdefault(request.owner, 0)
        return []

    def _full(self, owner: str, num_new: int) -> Busy | None:
        """Return why so many tokens more may not wait; None where they may."""
        again = "Try again when some of them are done."
        num_mine = sum(work.num_waiting_tokens for work in self._waiting.get(owner, ()))
        num_all = sum(work.num_waiting_tokens for each in self._waiting.values() for work in each)
        part = self._max_waiting_tokens // 2
        if num_mine and num_mine + num_new > part:
            full = f"Your part of the queue is full: texts of {num_mine} tokens are waiting"
            num_over = min(num_mine, num_mine + num_new - part)
            return Busy.about(full, again, self._speed.expected_s(num_over * len(self._waiting)))
        if num_all > self._max_waiting_tokens:
            full = f"The queue is full: texts of {num_all} tokens are waiting"
            num_over = num_all - self._max_waiting_tokens
            return Busy.about(full, again, self._speed.expected_s(num_over))
        return None

    def _pick(self, max_tokens: int | None) -> list[_Pick]:
        """Choose texts for one pass, all with one pooling, owner after owner."""
        embedder = self._embedder
        room = embedder.max_batch_tokens
        if max_tokens is not None:
            room = min(room, max_tokens)
        picks: list[_Pick] = []
        left_out: set[str] = set()
        while len(picks) < embedder.max_batch_texts and (owner := self._next_owner(left_out)):
            work = self._waiting[owner][0]
            num_tokens = len(work.texts[work.next_index])
            is_other = bool(picks) and work.request.pooling is not picks[0].work.request.pooling
            if picks and (is_other or num_tokens > room):
                left_out.add(owner)
                continue
            picks.append(_Pick(work, work.next_index))
            room -= num_tokens
            self._num_turns += 1
            self._turns[owner] = self._num_turns
            work.next_index += 1
            if work.next_index == len(work.texts):
                self._drop(work.request.request_id)
        return picks

    def _next_owner(self, left_out: set[str]) -> str | None:
        return min(
            (owner for owner in self._waiting if owner not in left_out),
            key=lambda owner: (_priority(self._waiting[owner][0]), self._turns[owner]),
            default=None,
        )

    def _forget(self, request_id: str) -> None:
        """Forget a request that nobody wants; a batch that has no other text is not read on."""
        self._drop(request_id)
        for pick in (*self._batch, *self._suspects):
            if pick.work.request.request_id == request_id:
                pick.work.is_dropped = True
        self._suspects = deque(pick for pick in self._suspects if not pick.work.is_dropped)
        if all(pick.work.is_dropped for pick in self._batch):
            self._batch = []

    def _drop(self, request_id: str) -> None:
        """Take out a request that has no text left to choose."""
        kept = {
            owner: [work for work in works if work.request.request_id != request_id]
            for owner, works in self._waiting.items()
        }
        self._waiting = {owner: works for owner, works in kept.items() if works}
        self._turns = {owner: self._turns[owner] for owner in self._waiting}


def _priority(work: _Work) -> int:
    return work.request.priority


def _parts(pick: _Pick, vector: bytes) -> list[Output]:
    """Return what tells the vectors of a text, and after the last text that all is told."""
    request_id, texts = pick.work.request.request_id, pick.work.texts
    outputs = [
        Output(request_id, VectorPart(pick.index, vector[start : start + MAX_PART_BYTES]))
        for start in range(0, len(vector), MAX_PART_BYTES)
    ]
    if pick.index == len(texts) - 1:
        outputs.append(Output(request_id, Embedded(sum(map(len, texts)))))
    return outputs


def _append(messages: list[ToParent], outputs: Sequence[Output]) -> None:
    """Put outputs into messages none of which is longer than a frame may be."""
    for output in outputs:
        last = messages[-1] if messages else None
        if isinstance(last, Outputs) and _size(last.items) + _size([output]) <= MAX_PART_BYTES:
            last.items.append(output)
        else:
            messages.append(Outputs([output]))


def _size(outputs: Sequence[Output]) -> int:
    return sum(len(o.delta.data) for o in outputs if isinstance(o.delta, VectorPart))
