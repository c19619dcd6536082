"""How many tokens of a prompt depend on nothing but how its conversation begins.

Knows messages and how a model's template renders them. The beginning is rendered with two
different continuations: what these have in common holds nothing of what anybody goes on with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from webui.engine.states import num_common
from webui.errors import InvalidRequest
from webui.messages import Message, Role

if TYPE_CHECKING:
    from collections.abc import Sequence

    from webui.engine.prompt_cut import Render

# In place of what follows the beginning: the two have no beginning in common.
PROBES = ("A word", "7 numbers")


class PromptBorder:
    """Finds borders, and remembers the latest beginning; used by one thread.

    Args:
        render: Makes the tokens of a conversation.
    """

    def __init__(self, render: Render) -> None:
        self._render = render
        self._latest: tuple[tuple[Message, ...], Message | None] = (), None
        self._tokens: list[int] = []  # that depend on it alone

    def find(
        self,
        messages: Sequence[Message],
        prompt: Sequence[int],
        *,
        num_messages: int,
        num_chars: int = 0,
    ) -> int:
        """Return how many tokens depend on the beginning alone.

        Args:
            messages: The conversation.
            prompt: Its tokens.
            num_messages: So many messages are the beginning.
            num_chars: And so many characters of the next one.
        """
        if num_messages >= len(messages):
            return 0
        whole, cut = tuple(messages[:num_messages]), messages[num_messages]
        head = Message(cut.role, cut.text[:num_chars]) if num_chars else None
        if not whole and head is None:
            return 0
        if self._latest != (whole, head):
            try:
                one, other = (self._render(_going_on(whole, head, probe)) for probe in PROBES)
            except InvalidRequest:  # the template takes no such conversation
                return 0
            self._latest, self._tokens = (whole, head), one[: num_common(one, other)]
        return num_common(self._tokens, prompt)


def _going_on(whole: tuple[Message, ...], head: Message | None, probe: str) -> tuple[Message, ...]:
    """Return a conversation that has nothing of the one at hand but its beginning."""
    begun = () if head is None else (Message(head.role, head.text + probe),)
    return (*whole, *begun, Message(Role.USER, probe))
