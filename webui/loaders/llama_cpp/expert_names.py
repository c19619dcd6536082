"""How the weights of experts are called (mixture of experts), and which stay off the cards.

Pure: knows names and options, no llama_cpp.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from webui.loaders.llama_cpp.options import LlamaCppOptions

# Source: llama.cpp, common/common.h, LLM_FFN_EXPS_REGEX and llm_ffn_block_regex.
EXPERTS = r"\.ffn_(up|down|gate|gate_up)_(ch|)exps"


def experts_on_cpu(options: LlamaCppOptions) -> str:
    """Return a pattern of the weights that stay in ordinary memory; empty where none must."""
    if options.cpu_moe:
        return EXPERTS
    if not options.n_cpu_moe:
        return ""
    # One pattern, because llama.cpp compiles each anew for every tensor.
    layers = "|".join(str(layer) for layer in range(options.n_cpu_moe))
    return rf"blk\.({layers}){EXPERTS}"
