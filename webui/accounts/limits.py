"""What one person may use: the schema of limits, and which of several applies.

A value file: knows names, ranges and how they are put together; counts nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, ValidationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAX_LIMIT = 10**15


class Limits(BaseModel):
    """Limits of one person, a group or everybody.

    A limit that is left out is not set; one that is None is set to no limit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    tokens_per_day: int | None = Field(
        default=None, ge=0, le=MAX_LIMIT, description="Tokens read anew and written, a day in UTC."
    )
    messages_per_minute: int | None = Field(
        default=None, ge=1, le=MAX_LIMIT, description="Messages and API requests a minute."
    )
    requests_at_once: int | None = Field(
        default=None, ge=1, le=MAX_LIMIT, description="Requests that run or wait at the same time."
    )
    context_tokens: int | None = Field(
        default=None, ge=1, le=MAX_LIMIT, description="Tokens of the longest prompt."
    )
    storage_bytes: int | None = Field(
        default=None, ge=0, le=MAX_LIMIT, description="Bytes of the text of all conversations."
    )

    def saved(self) -> dict[str, int | None]:
        """Return those that are set, as they are kept."""
        return self.model_dump(exclude_unset=True)


def read_limits(saved: Mapping[str, object]) -> Limits:
    """Return limits as they were kept, without those that this version does not know."""
    known = {name: value for name, value in saved.items() if name in Limits.model_fields}
    try:
        return Limits.model_validate(known)
    except ValidationError as error:
        wrong = {details["loc"][0] for details in error.errors() if details["loc"]}
    return Limits.model_validate({name: known[name] for name in known.keys() - wrong})


def source_of(name: str, own: Limits, of_groups: Mapping[str, Limits]) -> tuple[str, str | None]:
    """Return from where a limit that holds comes: `own`, `group` with its name, or `default`."""
    if name in own.model_fields_set:
        return "own", None
    found = {
        key: getattr(one, name) for key, one in of_groups.items() if name in one.model_fields_set
    }
    if not found:
        return "default", None
    unlimited = [key for key, limit in found.items() if limit is None]
    return "group", unlimited[0] if unlimited else max(found, key=lambda key: found[key])


def effective(own: Limits, of_groups: Iterable[Limits], default: Limits) -> Limits:
    """Return the limits that hold: one's own, else the most generous group's, else the default.

    Each limit is looked up by itself.
    """
    groups = list(of_groups)
    found: dict[str, int | None] = {}
    for name in Limits.model_fields:
        set_in_groups = [getattr(one, name) for one in groups if name in one.model_fields_set]
        if name in own.model_fields_set:
            found[name] = getattr(own, name)
        elif set_in_groups:
            found[name] = None if None in set_in_groups else max(set_in_groups)
        else:
            found[name] = getattr(default, name)
    return Limits(**found)
