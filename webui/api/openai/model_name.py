"""Who may be asked under which name.

Knows the pool's status; a client may leave the name out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from webui.api.errors import ModelNotFound
from webui.engine.pool_status import PoolState

if TYPE_CHECKING:
    from webui.runtime import Runtime


def check_model(asked: str | None, runtime: Runtime) -> str:
    """Return the name of the model that answers: the loaded one, else the one on its way.

    One that failed to load answers under no name: the request says why it failed.

    Raises:
        ModelNotFound: The client wants another one.
    """
    status, engine = runtime.pool.status, runtime.pool.current
    names = [engine.info.name] if engine else []
    if status.state != PoolState.FAILED and (engine is None or status.name == engine.info.name):
        names += [name for name in (status.name, status.model_id) if name]
    if asked and names and asked not in names:
        raise ModelNotFound(
            f"the model '{asked[:100]}' is not loaded; '{names[0]}' is",
            "Leave 'model' empty or name the loaded one.",
            field="model",
        )
    return names[0] if names else asked or ""
