"""When a lazy grammar begins: whether a reply has said one of its trigger words or tokens.

Knows bytes and token ids; knows neither models nor grammars. llama.cpp searches the whole reply
with `std::regex` at each token, which recurses over what it matches and can overflow the stack;
and what it then cannot accept ends the process. So words are found here, in the last few bytes
only, and patterns are not offered.

Source: llama.cpp, src/llama-grammar.cpp, llama_grammar_accept_impl.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from webui.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from webui.engine.interface import GrammarTrigger

FIELD = "grammar_triggers"
MAX_TRIGGERS = 32
MAX_WORD_CHARS = 64  # a grammar reads a word in one step of the model


def check_triggers(triggers: Sequence[GrammarTrigger], *, has_grammar: bool) -> None:
    """Refuse what no grammar can wait for.

    Raises:
        InvalidRequest: Names the trigger and the reason.
    """
    if triggers and not has_grammar:
        raise _refusal("there is no grammar or schema that they could begin", "Send one.")
    if len(triggers) > MAX_TRIGGERS:
        raise _refusal(
            f"there are {len(triggers)}; {MAX_TRIGGERS} are allowed", "Leave some of them out."
        )
    for index, trigger in enumerate(triggers):
        _check_trigger(trigger, f"[{index}]")


def _check_trigger(trigger: GrammarTrigger, place: str) -> None:
    if trigger.token is not None:
        if trigger.token < 0:
            raise _refusal("a token id is 0 or more", "Send another id.", place)
        return
    word = trigger.word
    if not word:
        raise _refusal("the word is empty", "Send a word, or leave it out.", place)
    if len(word) > MAX_WORD_CHARS:
        raise _refusal(
            f"the word has {len(word)} characters; {MAX_WORD_CHARS} are allowed",
            "Send the beginning of it.",
            place,
        )
    if "\0" in word or any("\ud800" <= char <= "\udfff" for char in word):
        raise _refusal(
            "the word holds a zero character or half of a surrogate pair", "Leave it out.", place
        )


def _refusal(reason: str, hint: str, place: str = "") -> InvalidRequest:
    return InvalidRequest(f"{FIELD}{place}: {reason}", hint, field=FIELD)


@dataclass(frozen=True, slots=True)
class Opening:
    """A word that a token completes.

    Attributes:
        text: What the grammar is to be told: from the word's first byte to the token's last.
        is_token: Whether that is the token, whole and alone.
    """

    text: bytes
    is_token: bool


class TriggerWatch:
    """The last bytes of one reply, in which a word may have begun.

    Args:
        words: Those that begin the grammar; none of them empty.
        tokens: Ids that do; they may say nothing.
    """

    def __init__(self, words: Sequence[bytes], tokens: frozenset[int]) -> None:
        self._words = tuple(words)
        self._tokens = tokens
        self._num_kept = max(map(len, words), default=1) - 1
        self._tail = b""

    def openings(self, token: int, data: bytes) -> list[Opening]:
        """Return how the grammar could begin with a token; nothing where it does not.

        Args:
            token: Its id.
            data: What it says.
        """
        if token in self._tokens:
            return [Opening(data, is_token=True)]
        text = self._tail + data
        border = len(self._tail)
        found: list[int] = []
        for word in self._words:
            # What ends before the border was seen with an earlier token.
            start = text.find(word, max(0, border - len(word) + 1))
            if start >= 0:
                found.append(start)
        return [Opening(text[start:], is_token=start == border) for start in sorted(set(found))]

    def pass_by(self, data: bytes) -> None:
        """Note what was said without beginning the grammar."""
        if self._num_kept:
            self._tail = (self._tail + data)[-self._num_kept :]
