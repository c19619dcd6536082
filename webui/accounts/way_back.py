"""What comes back from a provider by way of the browser: anybody may have written it.

Knows words and their lengths; what a token says, which comes from the provider itself, is for
`id_token` to judge.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from webui.accounts.id_token import SignInRefused

MAX_WORD_CHARS = 4096
MAX_ERROR_CHARS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back from the provider in the address; any of it may be empty."""

    code: str = ""
    state: str = ""
    error: str = ""
    issuer: str = ""


def check(answer: Answer, *, issuer: str, names_itself: bool, name: str) -> None:
    """Check that there is something to ask the provider about.

    Args:
        answer: As it came.
        issuer: Of the provider that was asked.
        names_itself: It says in each answer who it is.
        name: What people call it.

    Raises:
        SignInRefused: It is another provider's, a refusal, or no answer at all.
    """
    is_theirs = hmac.compare_digest(answer.issuer.encode(), issuer.encode())
    if (answer.issuer or names_itself) and not is_theirs:
        raise SignInRefused("another provider answered than was asked", "Begin it anew.")
    if answer.error:
        shown = answer.error if _is_word(answer.error) else "no word for why"
        raise SignInRefused(
            f"{name} did not let you in ({shown})", "Try again, or sign in with a password."
        )
    if not 0 < len(answer.code) <= MAX_WORD_CHARS:
        raise SignInRefused("the provider sent no code", "Begin it anew.")


def _is_word(text: str) -> bool:
    return len(text) <= MAX_ERROR_CHARS and text.isascii() and text.replace("_", "").isalnum()
