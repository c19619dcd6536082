"""A house without faces: real SQLite, real event log, and an engine that does what it is told."""

import asyncio
from contextlib import aclosing, asynccontextmanager

import pytest

from webui.accounts.quotas import Quotas
from webui.actor import Actor, Permission, local_actor
from webui.chat import records
from webui.chat.conversations import Conversations
from webui.chat.event_log import EventLog
from webui.chat.events import Done, Failed, Reasoning, Reset, Text
from webui.chat.generations import Generations
from webui.chat.parameters import Parameters
from webui.chat.server_prompt import ServerPrompt
from webui.engine.interface import (
    EngineState,
    Finish,
    FinishReason,
    Memory,
    ModelInfo,
    Timings,
    Usage,
)
from webui.engine.pool import EnginePool
from webui.engine.saved_states import SavedStates
from webui.errors import Busy
from webui.storage.database import Database
from webui.storage.tables import UserRow

FINISH = Finish(FinishReason.STOP, Usage(7, 2), Timings(0.0, 0.1, 0.2))


class ScriptedEngine:
    """Yields what a test puts in, raises what is an exception."""

    def __init__(self):
        self.info = ModelInfo(
            name="scripted",
            context_length=100,
            num_slots=4,
            num_threads=1,
            memory=Memory(1, 2, 3),
        )
        self.state = EngineState.READY
        self.requests = []
        self.purged = []
        self.num_ended = 0
        self.is_full = False
        self.on_request = None
        self.mailboxes = []  # of running requests
        self._backlog = asyncio.Queue()

    def put(self, *deltas):
        """Give deltas to the latest running request, or to the next one."""
        mailbox = self.mailboxes[-1] if self.mailboxes else self._backlog
        for delta in deltas:
            mailbox.put_nowait(delta)

    async def generate(self, request):
        self.requests.append(request)
        mailbox, self._backlog = self._backlog, asyncio.Queue()
        self.mailboxes.append(mailbox)
        if self.on_request is not None:
            await self.on_request()
        try:
            while True:
                delta = await mailbox.get()
                if isinstance(delta, Exception):
                    raise delta
                yield delta
                if isinstance(delta, Finish):
                    return
        finally:
            self.num_ended += 1
            self.mailboxes.remove(mailbox)

    def check_room(self, owner):
        if self.is_full:
            raise Busy("The queue is full", retry_after_s=3)

    async def purge(self, owner, conversation_id):
        self.purged.append((owner, conversation_id))

    async def expire(self, before_ns):
        pass

    async def drain(self):
        while self.mailboxes:  # noqa: ASYNC110 - as a reader of a made-up engine may
            await asyncio.sleep(0.01)

    async def close(self, *, is_replaced=False):
        pass


class SlowDatabase:
    """A database whose answers a test may hold back, and which may refuse to write."""

    def __init__(self, database):
        self._database = database
        self.after_read = None
        self.refusals = []
        self.writes = []

    async def run(self, fn, *args, **kwargs):
        if self.refusals:
            raise self.refusals.pop(0)
        self.writes.append(fn.__name__)
        return await self._database.run(fn, *args, **kwargs)

    async def read(self, fn, *args, **kwargs):
        found = await self._database.read(fn, *args, **kwargs)
        if self.after_read is not None:
            await self.after_read()
        return found


class House:
    def __init__(self, database, pool, pace_s):
        self.database = SlowDatabase(database)
        self.pool = pool
        self.events = EventLog(pace_s=pace_s)
        self.parameters = Parameters(self.database)
        self.quotas = Quotas(self.database)
        states = SavedStates(pool, None)
        self.server_prompt = ServerPrompt(self.database, states)
        self.generations = Generations(
            self.database,
            pool,
            self.events,
            self.quotas,
            self.server_prompt,
            tick_s=0.01,
            retry_s=0.01,
        )
        self.conversations = Conversations(
            self.database,
            self.generations,
            self.parameters,
            self.events,
            states,
            self.server_prompt,
        )
        self.me = local_actor()
        self.other = Actor("other", "Other", frozenset(Permission))

    async def begin(self, text="Hello", actor=None):
        """Send a first message; returns the conversation's id and the turn."""
        actor = actor or self.me
        view = await self.conversations.create(actor)
        return view.id, await self.conversations.send(actor, view.id, None, text)

    async def ended(self, turn, owner="local"):
        """Wait for the end of a turn's reply; returns its last event."""
        async with asyncio.timeout(30):
            async for entry in self.follow(owner, turn.cursor):
                event = entry.event
                if isinstance(event, Done | Failed) and event.generation_id == turn.generation.id:
                    return event
        raise AssertionError("the stream ended")

    async def stop(self, turn):
        """Stop a turn's reply and wait until that is saved, however slow the machine is."""
        await self.generations.stop(self.me, turn.generation.id)
        return await self.ended(turn)

    async def told(self, turn, kind, owner="local"):
        """Wait for an event of a kind after the turn."""
        async with asyncio.timeout(30):
            async for entry in self.follow(owner, turn.cursor):
                if isinstance(entry.event, kind):
                    return entry.event
        raise AssertionError("the stream ended")

    async def follow(self, owner, after):
        async with aclosing(self.events.subscribe(owner, after)) as subscription:
            async for batch in subscription:
                for entry in batch:
                    assert not isinstance(entry.event, Reset)
                    yield entry

    async def client(self, conversation_id, after=None):
        """Be a browser tab whose stream is open before it fetches the conversation.

        Returns reasoning and text of each message when the reply has ended, as they were put
        together from the snapshot and the events behind its cursor.
        """
        stream = asyncio.Queue()

        async def listen():
            async for entry in self.follow("local", after or self.events.cursor("local")):
                stream.put_nowait(entry)

        listener = asyncio.ensure_future(listen())
        try:
            async with asyncio.timeout(30):
                return await self._shown(conversation_id, stream)
        finally:
            listener.cancel()
            await asyncio.wait({listener})

    async def _shown(self, conversation_id, stream):
        transcript = await self.conversations.get(self.me, conversation_id)
        seen = int(transcript.cursor.rpartition(":")[2])
        shown = {m.id: (m.reasoning, m.text) for m in transcript.messages}
        while transcript.generation is not None:
            entry = await stream.get()
            event = entry.event
            if entry.n <= seen or getattr(event, "conversation_id", "") != conversation_id:
                continue
            reasoning, text = shown[event.message_id]
            if isinstance(event, Text):
                shown[event.message_id] = (reasoning, text + event.text)
            elif isinstance(event, Reasoning):
                shown[event.message_id] = (reasoning + event.text, text)
            elif isinstance(event, Done):
                break
        return shown

    async def until(self, check):
        """Wait until a check of what no event tells holds."""
        for _ in range(4000):
            if await check():
                return
            await asyncio.sleep(0.005)
        raise AssertionError("it did not come to hold in time")

    async def row(self, conversation_id, message_id):
        """Return a message as it stands in the database, without what is in memory."""
        _, messages = await self.database.read(records.transcript, "local", conversation_id)
        return next(m for m in messages if m.id == message_id)


@pytest.fixture
async def open_house(tmp_path):
    @asynccontextmanager
    async def open_it(pool=None, engine=None, pace_s=0):
        database = Database(tmp_path / "data" / "hearthside.db")
        await database.open()
        pool = pool or EnginePool()
        if engine is not None:
            await pool.adopt(engine)
        house = House(database, pool, pace_s)
        await database.run(
            lambda s: (
                s.add(UserRow(id="other", name="Other"))
                if s.get(UserRow, "other") is None
                else None
            )
        )
        try:
            yield house
        finally:
            house.events.close()
            await house.conversations.close()
            await house.generations.close()
            await pool.close()
            await database.close()

    return open_it


@pytest.fixture
def engine():
    return ScriptedEngine()


@pytest.fixture
async def house(open_house, engine):
    async with open_house(engine=engine) as house:
        yield house


@pytest.fixture
def finish():
    return FINISH
