"""How each model file is to be loaded, and which one was loaded last: what is remembered of both.

Knows the loaders and the settings table; what is remembered belongs to the local user, because
there is one loaded model for everybody.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

from pydantic import BaseModel, ValidationError

from webui.actor import LOCAL_USER_ID
from webui.chat.parameters import invalid
from webui.errors import LoadFailed
from webui.loaders import LOADERS
from webui.storage import settings as settings_table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from sqlalchemy.orm import Session

    from webui.engine.loader import Loader, ModelSpec

logger = logging.getLogger(__name__)

ModelOptions: TypeAlias = BaseModel | Mapping[str, object]

LAST_MODEL = "last_model"
OPTIONS = "model_options"  # and the id of the model


def remember_load(session: Session, spec: ModelSpec, saved: BaseModel, chosen: BaseModel) -> None:
    """Keep what was loaded, and how unless somebody changed the options while it was loading."""
    settings_table.put(session, LOCAL_USER_ID, LAST_MODEL, spec.model_id)
    if find_options(session, spec.model_id, spec.loader) == saved:
        put_options(session, spec.model_id, chosen)


def update_options(
    session: Session,
    model_id: str,
    loader: Loader,
    change: Callable[[BaseModel], ModelOptions],
) -> BaseModel:
    """Change what is saved for a model; what `change` raises leaves it as it was.

    Raises:
        InvalidRequest: An option is out of its bounds or unknown; names the field.
    """
    options = checked(loader, change(find_options(session, model_id, loader)))
    put_options(session, model_id, options)
    return options


def find_options(session: Session, model_id: str, loader: Loader) -> BaseModel:
    """Return the options a model was last loaded with, else the defaults."""
    saved = settings_table.find(session, LOCAL_USER_ID, f"{OPTIONS}/{model_id}")
    try:
        return loader.Options.model_validate(saved or {})
    except ValidationError:
        logger.warning("the saved options of %s are not valid any more", model_id)
        return loader.Options()


def put_options(session: Session, model_id: str, options: BaseModel) -> None:
    """Save the options of a model; those at their defaults are left out."""
    value = options.model_dump(mode="json", exclude_defaults=True)
    settings_table.put(session, LOCAL_USER_ID, f"{OPTIONS}/{model_id}", value)


def checked(loader: Loader, options: ModelOptions) -> BaseModel:
    """Return options that keep to the bounds of the loader; a text stands for no number or switch.

    Raises:
        InvalidRequest: One does not, or is unknown; names the field.
    """
    try:
        if isinstance(options, BaseModel):
            return loader.Options.model_validate(options.model_dump())
        # As JSON: there a list may stand for a tuple.
        return loader.Options.model_validate_json(json.dumps(dict(options)), strict=True)
    except ValidationError as error:
        raise invalid(error) from error


def loader_of(path: Path, loaders: Sequence[Loader] = LOADERS) -> Loader:
    """Return who opens a file.

    Raises:
        LoadFailed: Nobody does.
    """
    ending = path.suffix.lower().removeprefix(".")
    for loader in loaders:
        if any(known.removeprefix(".") == ending for known in loader.formats):
            return loader
    known = ", ".join(known for loader in loaders for known in loader.formats)
    raise LoadFailed(
        f"{path.name} is of a kind that cannot be loaded", f"Kinds that can be: {known}."
    )
