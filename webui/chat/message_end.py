"""What storage keeps of a reply that is at its end.

Pure: from what is seen of a message to the columns of its row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from webui.storage.messages import MessageEnd
from webui.storage.tables import MessageStatus

if TYPE_CHECKING:
    from webui.chat.views import MessageView


def message_end(final: MessageView) -> MessageEnd:
    """Return how a reply ended, as it is kept."""
    usage, timings, error = final.usage, final.timings, final.error
    left_out = final.left_out
    return MessageEnd(
        text=final.text,
        reasoning=final.reasoning,
        status=MessageStatus(final.status),
        model=final.model,
        finish_reason=final.finish_reason,
        prompt_tokens=usage.prompt_tokens if usage else None,
        completion_tokens=usage.completion_tokens if usage else None,
        cached_tokens=usage.cached_tokens if usage else None,
        drafted_tokens=usage.drafted_tokens if usage else None,
        accepted_tokens=usage.accepted_tokens if usage else None,
        queued_s=timings.queued_s if timings else None,
        prefill_s=timings.prefill_s if timings else None,
        decode_s=timings.decode_s if timings else None,
        reasoning_s=final.reasoning_s,
        error_code=error.code if error else None,
        error_message=error.message if error else None,
        error_hint=error.hint if error else None,
        left_out_messages=left_out.messages if left_out else None,
        left_out_before_id=left_out.before_id if left_out else None,
        left_out_tokens=left_out.tokens if left_out else None,
    )
