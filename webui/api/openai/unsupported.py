"""What clients of the dialect may ask and nobody here does: refused by name, never passed over.

Knows names of fields; what asks for nothing, such as an empty list of tools, is let through.
"""

from __future__ import annotations

from typing import Any

from webui.api.openai.sampler_fields import Known
from webui.errors import InvalidRequest

NO_TOOLS_HINT = "Leave it out, or forbid their use (none): the answer is text."
FREE_CHOICES = ("none", "auto")  # without tools both come to text


class Unsupported(Known):
    """Fields that a body may hold only where they ask for nothing."""

    tools: Any = None
    tool_choice: Any = None
    functions: Any = None
    function_call: Any = None
    best_of: Any = None

    def check_supported(self) -> None:
        """Refuse tools and everything else that would be passed over.

        Raises:
            InvalidRequest: Something is asked for; names the field.
        """
        for field, choice in (("tools", self.tool_choice), ("functions", self.function_call)):
            if getattr(self, field) not in (None, []) and choice != "none":
                raise no_tools(field)
        for field in ("tool_choice", "function_call"):
            if getattr(self, field) not in (None, *FREE_CHOICES):
                raise no_tools(field)
        if self.best_of is not None and (self.best_of != 1 or isinstance(self.best_of, bool)):
            raise InvalidRequest(
                "best_of: choosing the best of several replies is not supported",
                "Leave it out; n gives you all of them.",
                field="best_of",
            )


def no_tools(field: str) -> InvalidRequest:
    """Return what is said where a model is to call tools."""
    return InvalidRequest(f"{field}: tool calls are not supported yet", NO_TOOLS_HINT, field=field)
