"""All that one model does, step by step: replies first, some of the texts between two steps.

Knows the loops of both kinds of work; a model may have only one of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

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
    TextMail,
    TextsAnnounced,
    TextsPrepared,
)
from webui.engine.stats import EngineStats
from webui.engine.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from webui.engine.embed_loop import EmbedLoop
    from webui.engine.generation_loop import GenerationLoop
    from webui.engine.ipc import ToParent
    from webui.engine.text_pace import TextPace


class ModelLoop:
    """The loop that owns the model; called by one thread.

    Args:
        generation: Writes replies; None when the model cannot.
        embedding: Makes vectors; None when the model cannot.
        text_pace: How much of texts is read beside replies; there where the model does both.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        generation: GenerationLoop | None,
        embedding: EmbedLoop | None,
        text_pace: TextPace | None,
        clock: Callable[[], float],
    ) -> None:
        assert generation is None or embedding is None or text_pace is not None
        self._generation = generation
        self._embedding = embedding
        self._text_pace = text_pace
        self._clock = clock
        self._tally = Tally() if generation is None else generation.tally

    @property
    def stats(self) -> EngineStats:
        """What was done so far, and how things stand now."""
        generation = self._generation
        return self._tally.stats(EngineStats() if generation is None else generation.present)

    @property
    def has_work(self) -> bool:
        """Whether `step` has anything to do."""
        return any(loop is not None and loop.has_work for loop in self._loops)

    @property
    def idle_s(self) -> float | None:
        """How long to be without work before `idle` has something to do; None if it has not."""
        return None if self._generation is None else self._generation.idle_s

    def idle(self) -> None:
        """Do a piece of what can wait."""
        if self._generation is not None:
            self._generation.idle()

    def close(self) -> None:
        """Keep what is to outlive the process."""
        if self._generation is not None:
            self._generation.close()

    @property
    def _loops(self) -> tuple[GenerationLoop | None, EmbedLoop | None]:
        return self._generation, self._embedding

    def note_wait(self, waited_s: float) -> None:
        """Count seconds without anything to do."""
        self._tally.note_wait(waited_s)

    def take(self, mail: Mail | TextMail) -> list[ToParent]:
        """Take one piece of mail; return what is to be said about it at once.

        What the model cannot do was refused by the web process and does not come here.
        """
        messages = self._take(mail)
        for message in messages:
            self._tally.note_message(message)
        return messages

    def _take(self, mail: Mail | TextMail) -> list[ToParent]:
        match mail:
            case Purged() | Expired() if self._generation is None:
                return []
            case (
                Announced()
                | Prepared()
                | Purged()
                | Expired()
                | StatesListed()
                | StateWritten()
                | StateFetched()
            ):
                assert self._generation is not None
                return self._generation.take(mail)
            case TextsAnnounced() | TextsPrepared():
                assert self._embedding is not None
                return self._embedding.take(mail)
            case Refused() | Aborted():
                loops = (loop for loop in self._loops if loop is not None)
                return [message for loop in loops for message in loop.take(mail)]
            case _:
                assert_never(mail)

    def step(self) -> Iterator[ToParent]:
        """Make a step of the replies, then one of texts; yield what is new as it comes."""
        for message in self._step():
            self._tally.note_message(message)
            yield message

    def _step(self) -> Iterator[ToParent]:
        generation, embedding = self._generation, self._embedding
        writes = generation is not None and generation.has_work
        if generation is not None and writes:
            begun_s = self._clock()
            messages = generation.step()
            step_s = self._clock() - begun_s
            yield from messages
            if self._text_pace is not None:
                have_texts = embedding is not None and embedding.has_work
                self._text_pace.note_replies(step_s, have_texts=have_texts)
        if embedding is not None and embedding.has_work:
            yield from self._read_texts(embedding, beside=generation if writes else None)

    def _read_texts(self, embedding: EmbedLoop, beside: GenerationLoop | None) -> list[ToParent]:
        """Read a part of the texts, beside replies a small one if any."""
        pace = self._text_pace
        if pace is None:
            return embedding.step()
        max_tokens = pace.tokens_alone() if beside is None else pace.tokens_beside()
        if not max_tokens:
            return []
        begun_s = self._clock()
        messages = embedding.step(max_tokens)
        step_s = self._clock() - begun_s
        pace.note_texts(embedding.num_read, step_s)
        if beside is not None:
            beside.pause(step_s)
        return messages
