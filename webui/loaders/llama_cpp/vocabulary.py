"""Text to token ids and back, as the model's vocabulary has it.

Every method is safe to call from the template thread while the loop thread decodes.
"""

from __future__ import annotations

import ctypes
from functools import cached_property

import llama_cpp

from webui.errors import EngineError, InvalidRequest

NO_TOKEN = -1
PIECE_BYTES = 64
NUM_BYTES = 256
# llama.cpp: llama_vocab::impl::token_to_piece writes none of these where `special` is false.
SILENT = llama_cpp.LLAMA_TOKEN_ATTR_UNKNOWN | llama_cpp.LLAMA_TOKEN_ATTR_CONTROL


class Vocabulary:
    """The vocabulary of a loaded model; dies with it.

    Args:
        model: Handle of the model.

    Attributes:
        handle: llama.cpp's vocabulary.
    """

    def __init__(self, model: int) -> None:
        self.handle: int = llama_cpp.llama_model_get_vocab(model)
        self.size: int = llama_cpp.llama_vocab_n_tokens(self.handle)
        self.bos_id: int = llama_cpp.llama_vocab_bos(self.handle)
        self.eos_id: int = llama_cpp.llama_vocab_eos(self.handle)
        self.add_bos = self.bos_id != NO_TOKEN and bool(
            llama_cpp.llama_vocab_get_add_bos(self.handle)
        )
        self._bytes: dict[int, bytes] = {}

    @cached_property
    def ends(self) -> tuple[list[int], list[int]]:
        """The tokens that the model wants before and behind a text that stands by itself."""
        both = self._tokenize(b"", special=False, add_ends=True)
        num_before = min(len(both), self.add_bos)
        return both[:num_before], both[num_before:]

    @cached_property
    def between(self) -> list[int]:
        """The tokens that the model wants between a query and a document."""
        vocab = self.handle
        sep: int = llama_cpp.llama_vocab_sep(vocab)
        end = self.eos_id if self.eos_id != NO_TOKEN else sep
        tokens = [end] if llama_cpp.llama_vocab_get_add_eos(vocab) else []
        return [*tokens, sep] if llama_cpp.llama_vocab_get_add_sep(vocab) else tokens

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        """Return the ids of a text; no begin or end token is added.

        Args:
            text: Any text; empty gives no ids.
            special: Whether the text of a control token becomes that token.

        Raises:
            InvalidRequest: Half of a surrogate pair stands in the text.
            EngineError: llama.cpp could not tokenise it.
        """
        if not text:
            return []
        try:
            data = text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise InvalidRequest("The text holds half of a surrogate pair") from error
        return self._tokenize(data, special=special, add_ends=False)

    def _tokenize(self, data: bytes, *, special: bool, add_ends: bool) -> list[int]:
        room = len(data) + 8
        for _ in range(2):
            tokens = (ctypes.c_int32 * room)()
            num: int = llama_cpp.llama_tokenize(
                self.handle,
                data,
                len(data),
                tokens,
                room,
                add_ends,
                special,
            )
            if num >= 0:
                return tokens[:num]
            room = -num
        raise EngineError(f"llama.cpp could not tokenise a text of {len(data)} bytes")

    def token_bytes(self, token: int) -> bytes:
        """Return what a token says; control tokens say nothing."""
        known = self._bytes.get(token)
        if known is None:
            known = self._bytes[token] = self._piece(token, special=False)
        return known

    def piece(self, token: int) -> bytes:
        """Return how a token is written where a grammar is asked about it: control tokens too."""
        return self._piece(token, special=True)

    def spelled(self) -> list[bytes]:
        """Return what each token says, in a pass over the vocabulary; nothing for control tokens.

        Those that end a reply say nothing either.
        """
        spell = llama_cpp.llama_token_to_piece
        buffer = ctypes.create_string_buffer(PIECE_BYTES)
        found: list[bytes] = []
        for token in range(self.size):
            num = spell(self.handle, token, buffer, PIECE_BYTES, 0, False)  # noqa: FBT003 - C
            found.append(buffer[:num] if num >= 0 else self._piece(token, special=False))
        for token in self.eog:
            found[token] = b""
        return found

    @cached_property
    def eog(self) -> frozenset[int]:
        """All tokens that end a turn; found when first asked for, in a pass over the vocabulary."""
        return frozenset(filter(self.is_eog, range(self.size)))

    @cached_property
    def silent(self) -> frozenset[int]:
        """All tokens that say nothing and end no turn; found when first asked for, as `eog` is."""
        attr = llama_cpp.llama_vocab_get_attr
        return frozenset(t for t in range(self.size) if attr(self.handle, t) & SILENT) - self.eog

    @cached_property
    def letters(self) -> dict[int, int]:
        """The token of each byte that has one for itself, found in a pass over the vocabulary.

        They stand at the front of it, so that the pass is short as a rule.
        """
        found: dict[int, int] = {}
        for token in range(self.size):
            data = self._piece(token, special=False)
            if len(data) == 1:
                found.setdefault(data[0], token)
                if len(found) == NUM_BYTES:
                    break
        return found

    def token_text(self, token: int) -> str:
        """Return how a token is written in a template; empty when there is no such token."""
        return (
            "" if token == NO_TOKEN else self._piece(token, special=True).decode("utf-8", "replace")
        )

    def is_eog(self, token: int) -> bool:
        """Return whether the model ends its turn with this token."""
        return bool(llama_cpp.llama_vocab_is_eog(self.handle, token))

    def _piece(self, token: int, *, special: bool) -> bytes:
        if not 0 <= token < self.size:  # llama.cpp would throw through us
            raise EngineError(f"There is no token {token} in a vocabulary of {self.size}")
        room = PIECE_BYTES
        for _ in range(2):
            buffer = ctypes.create_string_buffer(room)
            num: int = llama_cpp.llama_token_to_piece(self.handle, token, buffer, room, 0, special)
            if num >= 0:
                return buffer.raw[:num]
            room = -num
        raise EngineError(f"llama.cpp could not spell the token {token}")
