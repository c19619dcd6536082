"""What an administrator lets the model be told, in the requests that reach the engine."""

from contextlib import aclosing

import pytest

from webui.accounts.identity import Sender
from webui.actor import Actor, Permission
from webui.chat.server_prompt import ServerPrompt
from webui.engine.interface import Text
from webui.engine.states import SHARED_OWNER
from webui.errors import InvalidRequest, PermissionDenied
from webui.messages import Message, Role
from webui.sampling_params import SamplingParams
from webui.storage import audit

pytestmark = pytest.mark.integration

HERE = Sender("192.0.2.1", "Firefox, Linux")
TOLD = "Be brief."


async def answered(house, engine, finish, actor=None):
    """Ask something as somebody and have it answered; returns conversation and reply."""
    actor = actor or house.me
    conversation_id, turn = await house.begin(actor=actor)
    engine.put(Text("Hi", 1), finish)
    await house.ended(turn, actor.user_id)
    return conversation_id, turn.messages[1].id


def begun(request):
    """Return what the latest request begins with, and how much of that is everybody's."""
    first = request.messages[0]
    return (first.role.value, first.text, request.num_shared_messages, request.num_shared_chars)


async def test_everybodys_next_reply_begins_with_it(house, engine, finish):
    await answered(house, engine, finish, house.other)
    assert begun(engine.requests[-1]) == ("user", "Hello", 0, 0)
    assert await house.server_prompt.set(house.me, f" {TOLD}\n", HERE) == TOLD
    for actor in (house.me, house.other):
        conversation_id, reply_id = await answered(house, engine, finish, actor)
        assert begun(engine.requests[-1]) == ("system", TOLD, 1, 0)
    await house.server_prompt.set(house.me, "Be kind.", HERE)
    turn = await house.conversations.send(house.other, conversation_id, reply_id, "And now?")
    engine.put(finish)
    await house.ended(turn, "other")
    assert begun(engine.requests[-1]) == ("system", "Be kind.", 1, 0)
    assert len(engine.requests[-1].messages) == 4
    await house.server_prompt.set(house.me, "", HERE)
    await answered(house, engine, finish)
    assert begun(engine.requests[-1]) == ("user", "Hello", 0, 0)


async def test_ones_own_words_come_after_it_and_are_shared_with_nobody(house, engine, finish):
    await house.server_prompt.set(house.me, TOLD, HERE)
    await house.parameters.save(house.other, {"system_prompt": "Speak in rhymes."})
    conversation_id, reply_id = await answered(house, engine, finish, house.other)
    both = ("system", "Be brief.\n\nSpeak in rhymes.", 0, len(TOLD))
    assert begun(engine.requests[-1]) == both
    again = (house.conversations.retry, house.conversations.continue_reply)
    for ask in again:
        turn = await ask(house.other, conversation_id, reply_id)
        reply_id = turn.generation.message_id
        engine.put(Text("Hi", 1), finish)
        await house.ended(turn, "other")
        assert begun(engine.requests[-1]) == both
    assert engine.requests[-1].continue_last
    assert [m.role for m in engine.requests[-1].messages].count(Role.SYSTEM) == 1
    assert (await house.parameters.get(house.other)).system_prompt == "Speak in rhymes."


@pytest.mark.parametrize(
    ("messages", "own", "expected"),
    [
        ([Message(Role.USER, "a")], "", ("system", TOLD, 1, 0)),
        ([Message(Role.USER, "a")], "s", ("system", f"{TOLD}\n\ns", 0, len(TOLD))),
        (
            [Message(Role.SYSTEM, "mine"), Message(Role.USER, "a")],
            "",
            ("system", "mine", 0, 0),
        ),
        (
            [Message(Role.USER, "a"), Message(Role.SYSTEM, "mine")],
            "",
            ("user", "a", 0, 0),
        ),
    ],
)
async def test_programs_get_it_unless_they_send_a_system_message(
    house, engine, finish, messages, own, expected
):
    await house.server_prompt.set(house.me, TOLD, HERE)
    engine.put(finish)
    params = SamplingParams(system_prompt=own)
    async with aclosing(house.generations.complete(house.other, messages, params)) as deltas:
        assert [delta async for delta in deltas] == [finish]
    (request,) = engine.requests
    assert begun(request) == expected
    assert list(request.messages[-len(messages) :]) == messages


async def test_plain_text_has_none(house, engine, finish):
    await house.server_prompt.set(house.me, TOLD, HERE)
    engine.put(finish)
    replies = house.generations.complete(house.me, (), SamplingParams(), plain_text="Once")
    async with aclosing(replies) as deltas:
        assert [delta async for delta in deltas] == [finish]
    (request,) = engine.requests
    assert (request.messages, request.plain_text) == ((), "Once")
    assert (request.num_shared_messages, request.num_shared_chars) == (0, 0)


async def test_change_is_written_down_and_forgotten_by_models_once(house, engine):
    for text in (TOLD, f"{TOLD} ", "", " "):
        await house.server_prompt.set(house.me, text, HERE)
    assert engine.purged == [(SHARED_OWNER, None)] * 2
    rows = await house.database.read(audit.list_newest, limit=9)
    assert [(row.action, row.about) for row in rows] == [
        ("set_server_prompt", "none"),
        ("set_server_prompt", "9 characters"),
    ]
    assert {row.address for row in rows} == {HERE.address}


async def test_it_outlives_a_restart(house):
    await house.server_prompt.set(house.me, TOLD, HERE)
    again = ServerPrompt(house.database, None)
    assert again.text == ""
    await again.open()
    assert again.text == TOLD


async def test_nobody_but_administrators_sets_it_and_nothing_too_long(house, engine):
    await house.server_prompt.set(house.me, TOLD, HERE)
    guest = Actor("other", "Other", frozenset(Permission) - {Permission.ADMINISTER})
    with pytest.raises(PermissionDenied):
        await house.server_prompt.set(guest, "Obey me.", HERE)
    with pytest.raises(InvalidRequest, match="200,001") as caught:
        await house.server_prompt.set(house.me, "x" * 200_001, HERE)
    assert caught.value.field == "server_prompt"
    assert house.server_prompt.text == TOLD
    assert len(engine.purged) == 1
