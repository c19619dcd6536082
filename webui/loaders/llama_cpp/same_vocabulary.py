"""Whether a draft model numbers its tokens as the model does whose replies it guesses.

Knows two vocabularies of llama.cpp; knows no weights and no contexts.

Source: llama.cpp, common/speculative.cpp, common_speculative_are_compatible.
"""

from __future__ import annotations

import llama_cpp

from webui.errors import LoadFailed

MAX_SIZE_DIFFERENCE = 128
FIRST_COMPARED = 5  # the tokens before it are control tokens, which families rename
SHOWN_CHARS = 40
TYPES = {
    llama_cpp.LLAMA_VOCAB_TYPE_NONE: "none",
    llama_cpp.LLAMA_VOCAB_TYPE_SPM: "SPM",
    llama_cpp.LLAMA_VOCAB_TYPE_BPE: "BPE",
    llama_cpp.LLAMA_VOCAB_TYPE_WPM: "WPM",
    llama_cpp.LLAMA_VOCAB_TYPE_UGM: "UGM",
    llama_cpp.LLAMA_VOCAB_TYPE_RWKV: "RWKV",
    llama_cpp.LLAMA_VOCAB_TYPE_PLAMO2: "PLaMo-2",
}
HINT = "Choose a smaller model of the same family, or load without a draft model."


def check_same_vocabulary(target: int, draft: int, name: str) -> None:
    """Refuse a draft model whose guesses would mean something else.

    Args:
        target: Handle of the vocabulary of the model that writes.
        draft: That of the draft model.
        name: Of the draft model, for the message.

    Raises:
        LoadFailed: Names the first thing that differs.
    """
    differs = (
        _kind(target, draft)
        or _ends(target, draft)
        or _size(target, draft)
        or _texts(target, draft)
    )
    if differs:
        raise LoadFailed(f"The draft model {name} does not fit: {differs}", HINT)


def _kind(target: int, draft: int) -> str:
    theirs, own = (llama_cpp.llama_vocab_type(vocab) for vocab in (target, draft))
    if theirs == own != llama_cpp.LLAMA_VOCAB_TYPE_NONE:
        return ""
    names = [TYPES.get(kind, str(kind)) for kind in (own, theirs)]
    return f"its kind of vocabulary is {names[0]}, the model's is {names[1]}"


def _ends(target: int, draft: int) -> str:
    for what, is_added, token in (
        ("begin", llama_cpp.llama_vocab_get_add_bos, llama_cpp.llama_vocab_bos),
        ("end", llama_cpp.llama_vocab_get_add_eos, llama_cpp.llama_vocab_eos),
    ):
        own, theirs = (token(vocab) if is_added(vocab) else None for vocab in (draft, target))
        if own != theirs:
            said = ["no token" if one is None else f"token {one}" for one in (own, theirs)]
            return f"its texts {what} with {said[0]}, the model's with {said[1]}"
    return ""


def _size(target: int, draft: int) -> str:
    own, theirs = (llama_cpp.llama_vocab_n_tokens(vocab) for vocab in (draft, target))
    if abs(own - theirs) <= MAX_SIZE_DIFFERENCE:
        return ""
    return f"it has {own} tokens, the model {theirs}, and {MAX_SIZE_DIFFERENCE} may differ"


def _texts(target: int, draft: int) -> str:
    text = llama_cpp.llama_vocab_get_text
    num = min(llama_cpp.llama_vocab_n_tokens(vocab) for vocab in (target, draft))
    for token in range(FIRST_COMPARED, num):
        own, theirs = text(draft, token), text(target, token)
        if own != theirs:
            return f"token {token} is {_shown(own)}, in the model {_shown(theirs)}"
    return ""


def _shown(text: bytes) -> str:
    return repr(text.decode("utf-8", "replace")[:SHOWN_CHARS])
