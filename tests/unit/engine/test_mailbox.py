"""Which requests of a dead worker are sent again, and that it is done once."""

from __future__ import annotations

import pytest

from webui.engine.interface import Prefill, Queued, Text, Trimmed
from webui.engine.ipc import Begun, Output, Outputs, RequestError, Waits
from webui.engine.mailbox import Mailbox, deliver
from webui.errors import Busy, EngineDied

DEATH = EngineDied("The engine stopped")
BEGUN, WAITS = Begun(["a"]), Waits("a")
QUEUED = Outputs([Output("a", Queued(1))])


def told(*messages):
    mailbox = Mailbox()
    for message in messages:
        deliver(message, {"a": mailbox})
    return mailbox


async def all_of(mailbox):
    while await mailbox.get() is not None:
        pass


@pytest.mark.parametrize(
    "messages",
    [
        (),
        (BEGUN, WAITS),
        (BEGUN, WAITS, QUEUED),
        (BEGUN, WAITS, Outputs([Output("a", Trimmed(2, 0))])),
        (Begun(["b"]),),
    ],
    ids=str,
)
def test_request_that_waited_is_sent_again_once(messages):
    mailbox = told(*messages)
    assert not mailbox.lose(DEATH)
    assert mailbox.lose(DEATH)


@pytest.mark.parametrize(
    "messages",
    [
        (BEGUN,),
        (BEGUN, WAITS, BEGUN),
        (BEGUN, WAITS, QUEUED, BEGUN),
        (BEGUN, WAITS, BEGUN, Outputs([Output("a", Prefill(1, 2))])),
        (Outputs([Output("a", Text("a", 1))]),),
    ],
    ids=str,
)
async def test_request_that_had_begun_is_not_sent_again(messages):
    mailbox = told(*messages)
    assert mailbox.lose(DEATH)
    with pytest.raises(EngineDied):
        await all_of(mailbox)


def test_request_that_was_answered_loses_nothing():
    error = RequestError.of("a", Busy("full"))
    assert not told(error).lose(DEATH)


def test_what_is_said_to_nobody_is_dropped():
    for message in (BEGUN, WAITS, QUEUED, RequestError.of("a", Busy("full"))):
        deliver(message, {})
