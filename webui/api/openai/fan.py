"""Several replies to one request, written at the same time and told as they come.

Each is a request of its own to the engine, of the same owner and with the same prompt.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from webui.engine.interface import Delta


async def numbered(
    replies: Sequence[AsyncGenerator[Delta, None]],
) -> AsyncGenerator[tuple[int, Delta], None]:
    """Yield the deltas of all replies with the number of each; closing it ends all of them.

    Raises:
        WebuiError: One of them failed; the others are ended.
    """
    if len(replies) == 1:
        async with aclosing(replies[0]) as deltas:
            async for delta in deltas:
                yield 0, delta
        return
    coming = {asyncio.create_task(_next(reply)): index for index, reply in enumerate(replies)}
    try:
        while coming:
            done, _ = await asyncio.wait(coming, return_when=asyncio.FIRST_COMPLETED)
            for task in sorted(done, key=coming.__getitem__):
                index = coming.pop(task)
                news = task.result()
                if news is not None:
                    coming[asyncio.create_task(_next(replies[index]))] = index
                    yield index, news
    finally:
        for task in coming:
            task.cancel()
        if coming:
            await asyncio.wait(coming)
        for reply in replies:
            await reply.aclose()


async def _next(reply: AsyncGenerator[Delta, None]) -> Delta | None:
    return await anext(reply, None)
