"""What llama.cpp was built for, as one JSON object on standard output; loads no model.

Run as a process of its own (`webui doctor`), because the library may end the one it is in.
"""

from __future__ import annotations

import json
import sys

import llama_cpp


def system_info() -> dict[str, object]:
    """Return version, devices and instruction sets."""
    features = llama_cpp.llama_print_system_info().decode("utf-8", "replace")
    return {
        "version": llama_cpp.__version__,
        "gpu_offload": bool(llama_cpp.llama_supports_gpu_offload()),
        "max_devices": int(llama_cpp.llama_max_devices()),
        "built_with": " ".join(features.replace("|", " ").split()),
    }


if __name__ == "__main__":
    json.dump(system_info(), sys.stdout)
