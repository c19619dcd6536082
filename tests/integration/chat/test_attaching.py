"""Whoever attaches at whatever moment sees each character once."""

import asyncio
import random

import pytest

from webui.engine.fake import FakeEngine

pytestmark = pytest.mark.integration

RATE = 1500.0


@pytest.mark.parametrize("seed", range(6))
async def test_clients_that_attach_at_any_moment_see_the_same_text(open_house, seed):
    """Snapshots from slow reads, old streams and new ones; two replies at once."""
    dice = random.Random(seed)

    async def lag():
        await asyncio.sleep(dice.choice((0, 0, 0.005, 0.05)))

    async with open_house(engine=FakeEngine(RATE), pace_s=0.02) as house:
        house.database.after_read = lag
        start = house.events.cursor("local")
        conversation_id, turn = await house.begin(dice.choice(("think twice", "Tell me")))
        other_id, other = await house.begin("long 120 ")
        clients = []
        for _ in range(12):
            after = dice.choice((None, start, turn.cursor))
            clients.append(asyncio.ensure_future(house.client(conversation_id, after)))
            clients.append(asyncio.ensure_future(house.client(other_id)))
            await asyncio.sleep(dice.random() * 0.05)
        await house.ended(turn)
        await house.ended(other)
        late = await house.client(conversation_id)
        for client in clients:
            shown = await client
            message_id = next(
                t.generation.message_id for t in (turn, other) if t.generation.message_id in shown
            )
            owner = conversation_id if message_id == turn.generation.message_id else other_id
            row = await house.row(owner, message_id)
            assert shown[message_id] == (row.reasoning, row.text)
        row = await house.row(conversation_id, turn.generation.message_id)
        assert late[row.id] == (row.reasoning, row.text)
        assert row.status == "complete"
        assert len(row.text) > 100
