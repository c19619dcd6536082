"""How each person wants replies sampled.

Knows `SamplingParams` and the settings table; the bounds are the schema's. What was saved under
an older schema is taken as far as it is still valid.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import ValidationError

from webui.errors import InvalidRequest
from webui.refusals import path_of, predicate
from webui.sampling_params import SamplingParams
from webui.storage import settings as settings_table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy.orm import Session

    from webui.actor import Actor
    from webui.storage.database import Database

NAME = "sampling_params"
MAX_NAME_CHARS = 100  # of a field that is not known
NO_NAME = 'what is named ""'


class Parameters:
    """Use cases of a person's sampling parameters.

    Args:
        database: Where they are kept.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, actor: Actor) -> SamplingParams:
        """Return what the actor saved; for what was not saved, the defaults."""
        return await self._database.read(_find, actor.user_id)

    async def save(
        self, actor: Actor, params: SamplingParams | Mapping[str, object]
    ) -> SamplingParams:
        """Keep parameters for the next messages; what is not named gets its default.

        Raises:
            InvalidRequest: A value is out of its bounds or unknown; names the field.
        """
        if not isinstance(params, SamplingParams):
            params = parse_params(params)
        await self._database.run(_put, actor.user_id, params)
        return params

    async def update(
        self, actor: Actor, change: Callable[[SamplingParams], SamplingParams]
    ) -> SamplingParams:
        """Change some of what the actor saved, so that changes made at once are all kept.

        Args:
            actor: Whose parameters.
            change: Given what is saved, returns what is to be; runs in the writer's thread,
                within one transaction, and what it raises leaves all as it was.
        """
        return await self._database.run(_update, actor.user_id, change)

    async def reset(self, actor: Actor) -> SamplingParams:
        """Forget what the actor saved; returns the defaults."""
        await self._database.run(settings_table.delete, actor.user_id, NAME)
        return SamplingParams()


def parse_params(values: Mapping[str, object]) -> SamplingParams:
    """Check values that came from outside.

    Raises:
        InvalidRequest: A value is out of its bounds or unknown; names the field.
    """
    try:
        return SamplingParams.model_validate(dict(values))
    except ValidationError as error:
        raise invalid(error) from error


def invalid(error: ValidationError) -> InvalidRequest:
    """Return the first thing that is wrong, with its field; of a list, with the entry."""
    problems = error.errors(include_url=False)
    name = path_of(problems[0])[:MAX_NAME_CHARS]
    return InvalidRequest(f"{name or NO_NAME} {predicate(problems)}", field=name)


def _find(session: Session, owner_id: str) -> SamplingParams:
    saved = settings_table.find(session, owner_id, NAME)
    return _as_far_as_valid(saved) if isinstance(saved, dict) else SamplingParams()


def _put(session: Session, owner_id: str, params: SamplingParams) -> None:
    value = params.model_dump(mode="json", exclude_defaults=True)
    settings_table.put(session, owner_id, NAME, value)


def _update(
    session: Session, owner_id: str, change: Callable[[SamplingParams], SamplingParams]
) -> SamplingParams:
    params = change(_find(session, owner_id))
    _put(session, owner_id, params)
    return params


def _as_far_as_valid(saved: dict[str, object]) -> SamplingParams:
    try:
        return SamplingParams.model_validate(saved)
    except ValidationError as error:
        wrong = {details["loc"][0] for details in error.errors() if details["loc"]}
    kept = {name: value for name, value in saved.items() if name not in wrong}
    return SamplingParams.model_validate(kept)
