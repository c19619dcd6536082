"""The tree of a conversation and what may be done to it.

Every use case checks its actor, makes one transaction, and tells the owner's event log. What
asks for a reply commits the rows before anything runs. Somebody else's conversation does not
exist: `NotFound`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from webui.actor import Permission
from webui.chat import records
from webui.chat.events import ConversationChanged, SharesChanged
from webui.chat.prompt import build_continuation, build_prompt, joined, shared_head, sources
from webui.chat.reply import Order
from webui.chat.typed_text import clean_text, clean_title, title_from
from webui.chat.views import Page, Transcript, Turn
from webui.chat.written_with import drawn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from webui.actor import Actor
    from webui.chat.event_log import EventLog
    from webui.chat.generations import Generations
    from webui.chat.parameters import Parameters
    from webui.chat.server_prompt import ServerPrompt
    from webui.chat.views import ConversationView, MessageView
    from webui.engine.saved_states import SavedStates
    from webui.sampling_params import OverflowPolicy
    from webui.storage.database import Database

MAX_PAGE = 200
MAX_READS = 5


class Conversations:
    """Use cases of conversations.

    Args:
        database: Where they are kept.
        generations: Who writes the replies.
        parameters: How each person wants them sampled.
        events: Where owners hear of changes.
        states: What models have read of conversations.
        server_prompt: What all of them begin with.
    """

    def __init__(
        self,
        database: Database,
        generations: Generations,
        parameters: Parameters,
        events: EventLog,
        states: SavedStates,
        server_prompt: ServerPrompt,
    ) -> None:
        self._states = states
        self._server_prompt = server_prompt
        self._database = database
        self._generations = generations
        self._parameters = parameters
        self._events = events
        self._turns: set[asyncio.Task[Turn]] = set()

    async def list(self, actor: Actor, limit: int = 50, before: str | None = None) -> Page:
        """Return conversations that have messages, newest first."""
        limit = max(1, min(limit, MAX_PAGE))
        views, following = await self._database.read(records.page, actor.user_id, limit, before)
        return Page([self._generations.marked(view) for view in views], following)

    async def create(self, actor: Actor, title: str = "") -> ConversationView:
        """Begin an empty conversation; without a title its first message will name it."""
        actor.require(Permission.CHAT)
        title = clean_title(title) if title.strip() else ""
        # Nobody is told: lists leave it out until there is a message.
        return await self._database.run(records.create, actor.user_id, title)

    async def get(self, actor: Actor, conversation_id: str) -> Transcript:
        """Return the conversation as of this instant, running replies included."""
        owner = actor.user_id
        view, messages = await self._read(owner, conversation_id)
        # From here to the cursor nothing is awaited: both are of the same instant.
        live = self._generations.live(conversation_id)
        return Transcript(
            self._generations.marked(view),
            [live.get(message.id, message) for message in messages],
            self._generations.running(conversation_id),
            self._events.cursor(owner),
        )

    async def rename(self, actor: Actor, conversation_id: str, title: str) -> ConversationView:
        """Give a title."""
        actor.require(Permission.CHAT)
        title = clean_title(title)
        view = await self._database.run(records.rename, actor.user_id, conversation_id, title)
        return self._changed(actor, view)

    async def set_active_leaf(
        self, actor: Actor, conversation_id: str, leaf_id: str
    ) -> ConversationView:
        """Choose which branch is shown: the one that ends in this message."""
        actor.require(Permission.CHAT)
        view = await self._database.run(
            records.set_active_leaf, actor.user_id, conversation_id, leaf_id
        )
        return self._changed(actor, view)

    async def set_context_overflow(
        self, actor: Actor, conversation_id: str, policy: OverflowPolicy | None
    ) -> ConversationView:
        """Choose what happens when it is longer than the context; None is as in the parameters."""
        actor.require(Permission.CHAT)
        view = await self._database.run(
            records.set_context_overflow, actor.user_id, conversation_id, policy
        )
        return self._changed(actor, view)

    async def delete(self, actor: Actor, conversation_id: str) -> None:
        """Take a conversation away, so that it can be restored; its running reply and shares end."""
        actor.require(Permission.CHAT)
        readers = await self._database.run(records.delete, actor.user_id, conversation_id)
        self._events.append(actor.user_id, ConversationChanged(deleted_id=conversation_id))
        for reader in dict.fromkeys(readers):
            self._events.append(reader, SharesChanged())
        await self._generations.stop_in(conversation_id)
        await self._states.purge(actor.user_id, conversation_id)

    async def restore(self, actor: Actor, conversation_id: str) -> ConversationView:
        """Bring a deleted conversation back."""
        actor.require(Permission.CHAT)
        view = await self._database.run(records.restore, actor.user_id, conversation_id)
        return self._changed(actor, view)

    async def send(
        self, actor: Actor, conversation_id: str, parent_id: str | None, text: str
    ) -> Turn:
        """Save a message below a reply, or as a first one, and begin the answer.

        Raises:
            InvalidRequest: The text is empty or too large, or the parent is not a reply.
            Conflict: A reply is being written in this conversation.
            QuotaExceeded: A limit of the actor does not allow it; nothing is saved.
        """
        actor.require(Permission.CHAT)
        text = clean_text(text)
        message = records.Sent(parent_id, text, title_from(text))
        return await self._ask(actor, conversation_id, message)

    async def retry(self, actor: Actor, conversation_id: str, message_id: str) -> Turn:
        """Begin another reply beside this one.

        Raises:
            InvalidRequest: The message is not a reply.
            Conflict: A reply is being written in this conversation.
        """
        actor.require(Permission.CHAT)
        return await self._ask(actor, conversation_id, records.Retried(message_id))

    async def continue_reply(self, actor: Actor, conversation_id: str, message_id: str) -> Turn:
        """Write on at the end of a reply that ended early, in the same message.

        Raises:
            InvalidRequest: The message is not a reply, or something follows it.
            Conflict: A reply is being written in this conversation.
        """
        actor.require(Permission.CHAT)
        return await self._ask(actor, conversation_id, records.Continued(message_id))

    async def edit(self, actor: Actor, conversation_id: str, message_id: str, text: str) -> Turn:
        """Save another version of a message beside it; what follows stays with the old one."""
        actor.require(Permission.CHAT)
        text = clean_text(text)
        await self._generations.quotas.check_storage(actor, len(text.encode()))
        view, message = await self._database.run(
            records.edit, actor.user_id, conversation_id, message_id, text
        )
        view = self._changed(actor, view)
        running = self._generations.running(conversation_id)
        return Turn([message], view, running, self._events.cursor(actor.user_id))

    async def close(self) -> None:
        """Wait for turns that are being saved; idempotent."""
        if self._turns:
            await asyncio.wait(self._turns)

    async def _read(
        self, owner: str, conversation_id: str
    ) -> tuple[ConversationView, Sequence[MessageView]]:
        """Read rows that no change has overtaken meanwhile."""
        num_reads = 0
        while True:
            num_changes = self._events.num_changes(owner)
            found = await self._database.read(records.transcript, owner, conversation_id)
            num_reads += 1
            if num_reads == MAX_READS or num_changes == self._events.num_changes(owner):
                return found

    async def _ask(self, actor: Actor, conversation_id: str, question: records.Question) -> Turn:
        """Save a turn and begin its reply, to the end also when the asker goes away meanwhile."""
        turn = asyncio.create_task(self._save_and_start(actor, conversation_id, question))
        self._turns.add(turn)
        turn.add_done_callback(self._turn_ended)
        return await asyncio.shield(turn)

    async def _save_and_start(
        self, actor: Actor, conversation_id: str, question: records.Question
    ) -> Turn:
        owner, quotas = actor.user_id, self._generations.quotas
        self._generations.check_model(actor)
        with self._generations.reserve(owner, conversation_id):
            text = question.text if isinstance(question, records.Sent) else ""
            await quotas.check_storage(actor, len(text.encode()))
            admission = quotas.admission(actor)
            meter = await admission.enter()
            try:
                wanted = await self._parameters.get(actor)
                params = drawn(wanted)
                asked = await self._database.run(
                    records.ask, owner, conversation_id, question, params
                )
                is_seed_drawn = params.seed != wanted.seed
                said = self._server_prompt.text
                order = _order(actor, asked, said, is_seed_drawn=is_seed_drawn)
                generation = self._generations.start(order, admission, meter)
            except BaseException:
                admission.withdraw()
                raise
        view = self._changed(actor, asked.conversation)
        live = self._generations.live(conversation_id)
        messages = [live.get(message.id, message) for message in asked.messages]
        return Turn(messages, view, generation, self._events.cursor(owner))

    def _turn_ended(self, turn: asyncio.Task[Turn]) -> None:
        self._turns.discard(turn)
        if not turn.cancelled():
            turn.exception()  # looked at, in case the asker is gone

    def _changed(self, actor: Actor, view: ConversationView) -> ConversationView:
        """Tell the owner of a committed change; returns what he is told."""
        view = self._generations.marked(view)
        self._events.append(actor.user_id, ConversationChanged(view))
        return view


def _order(actor: Actor, asked: records.Asked, server_prompt: str, *, is_seed_drawn: bool) -> Order:
    """Return what is to be written; a reply without a word is begun anew, not written on."""
    reply, params = asked.reply, asked.params
    system_prompt = joined(server_prompt, params.system_prompt)
    is_continuation = bool(reply.text.strip() or reply.reasoning.strip())
    if is_continuation:
        prompt = build_continuation([*asked.path, reply], system_prompt)
    else:
        prompt = build_prompt(asked.path, system_prompt)
    return Order(
        generation_id=asked.generation_id,
        owner=actor.user_id,
        conversation_id=asked.conversation.id,
        message=reply,
        prompt=prompt,
        params=params,
        is_continuation=is_continuation,
        sources=sources(asked.path, system_prompt),
        is_seed_drawn=is_seed_drawn,
        models=actor.models,
        shared=shared_head(prompt, server_prompt),
    )
