"""What llama.cpp can be compiled for on this machine, and why.

Knows the tools that show a GPU and its compiler; runs no compiler and installs nothing.
"""

from __future__ import annotations

import ctypes.util
import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

BUILDS = ("cpu", "cuda", "metal", "rocm", "vulkan")
NAMES = {"cpu": "CPU", "cuda": "CUDA", "metal": "Metal", "rocm": "ROCm", "vulkan": "Vulkan"}
# The RPC server of llama.cpp runs what a peer sends, and nothing here speaks TLS through it.
ALWAYS = ("-DGGML_RPC=OFF", "-DLLAMA_OPENSSL=OFF")
# GCC 12 drops the tile configuration that llama.cpp's AMX code lays on the stack, and the first
# prompt ends in an illegal instruction (llama.cpp pull request 26954; may go when that is in).
NO_AMX = ("-DCMAKE_C_FLAGS=-U__AMX_INT8__", "-DCMAKE_CXX_FLAGS=-U__AMX_INT8__")
# One core's minutes, measured for the CPU on x86-64; the others are rough.
CORE_MINUTES = {"cpu": 10, "cuda": 60, "metal": 12, "rocm": 60, "vulkan": 30}
PROBE_TIMEOUT_S = 20


@dataclass(frozen=True)
class Machine:
    """The few things that detection asks, so that tests can answer them.

    Attributes:
        platform: As `sys.platform`.
        architecture: As `platform.machine()`.
        which: Path of a command, or None.
        output: Standard output of a command, or None when it is missing or fails.
        has_library: Whether the dynamic linker finds a library.
    """

    platform: str
    architecture: str
    which: Callable[[str], str | None]
    output: Callable[[list[str]], str | None]
    has_library: Callable[[str], bool]


@dataclass(frozen=True)
class Finding:
    """Whether one kind of build can work here, and why in one clause."""

    build: str
    usable: bool
    reason: str
    cmake_args: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Return the name people know it by."""
        return NAMES[self.build]


def this_machine() -> Machine:
    """Return the machine that this process runs on."""
    return Machine(sys.platform, platform.machine(), _which, _output, _has_library)


def look(machine: Machine) -> list[Finding]:
    """Return what was found of each kind, best first, the CPU last."""
    return [
        _cuda(machine),
        _metal(machine),
        _rocm(machine),
        _vulkan(machine),
        Finding("cpu", usable=True, reason="every machine has one"),
    ]


def processor() -> str:
    """Return what -march=native depends on: the instruction sets, else the architecture."""
    try:
        about = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        about = ""
    flags = re.search(r"^(?:flags|Features)\s*:(.*)$", about, re.MULTILINE)
    sets = (
        re.findall(r"\b(?:sse|ssse|avx|amx|fma|f16c|bmi|asimd|sve|i8mm|bf16)\w*", flags[1])
        if flags
        else []
    )
    return " ".join([platform.machine(), *sorted(set(sets))])


def cmake_args(finding: Finding) -> str:
    """Return the CMAKE_ARGS of a build; the CPU keeps llama.cpp's own -march=native, but AMX."""
    return " ".join((*ALWAYS, *NO_AMX, *finding.cmake_args))


def minutes(build: str, num_cores: int) -> int:
    """Guess how long the compile takes."""
    return max(1, round(CORE_MINUTES[build] / max(1, num_cores)))


def _cuda(machine: Machine) -> Finding:
    args = ["-DGGML_CUDA=ON"]
    compiler = machine.which("nvcc")
    if compiler is None and (compiler := machine.which("/usr/local/cuda/bin/nvcc")):
        args.append(f"-DCMAKE_CUDA_COMPILER={compiler}")
    listed = machine.output(["nvidia-smi", "-L"]) or ""
    gpus = re.findall(r"^GPU \d+: (.+?)(?: \(UUID.*)?$", listed, re.MULTILINE)
    driver = bool(gpus) or machine.has_library("cuda")
    if compiler and driver:
        found = f"{gpus[0] if gpus else 'an NVIDIA driver'} and {compiler}"
        return Finding("cuda", usable=True, reason=found, cmake_args=tuple(args))
    if driver:
        reason = "an NVIDIA GPU is here, but not its compiler nvcc (install the CUDA toolkit)"
    elif compiler:
        reason = f"{compiler} is here, but no NVIDIA driver (nvidia-smi, libcuda)"
    else:
        reason = "neither nvcc nor an NVIDIA driver is here"
    return Finding("cuda", usable=False, reason=reason, cmake_args=tuple(args))


def _metal(machine: Machine) -> Finding:
    usable = machine.platform == "darwin" and machine.architecture == "arm64"
    reason = "a Mac with Apple silicon" if usable else "not a Mac with Apple silicon"
    return Finding("metal", usable=usable, reason=reason, cmake_args=("-DGGML_METAL=ON",))


def _rocm(machine: Machine) -> Finding:
    args = ["-DGGML_HIP=ON"]
    config = machine.which("hipconfig") or machine.which("/opt/rocm/bin/hipconfig")
    info = machine.which("rocminfo") or machine.which("/opt/rocm/bin/rocminfo")
    listed = (machine.output([info]) or "") if info else ""
    targets = sorted(set(re.findall(r"Name:\s+(gfx[0-9a-f]+)\s*$", listed, re.MULTILINE)))
    if config is None:
        return Finding("rocm", usable=False, reason="hipconfig is not here", cmake_args=tuple(args))
    compilers = (machine.output([config, "-l"]) or "").strip()
    environment = {"HIPCXX": f"{compilers}/clang"} if compilers else {}
    if targets:
        args.append(f"-DGPU_TARGETS={';'.join(targets)}")
    reason = f"{', '.join(targets)} and {config}" if targets else "rocminfo names no AMD GPU"
    return Finding(
        "rocm",
        usable=bool(targets),
        reason=reason,
        cmake_args=tuple(args),
        environment=environment,
    )


def _vulkan(machine: Machine) -> Finding:
    args = ("-DGGML_VULKAN=ON",)
    if machine.which("glslc") is None:
        reason = "the shader compiler glslc is not here"
        return Finding("vulkan", usable=False, reason=reason, cmake_args=args)
    summary = machine.output(["vulkaninfo", "--summary"]) or ""
    devices = re.findall(r"deviceName\s*=\s*(.+)", summary)
    # llvmpipe computes on the CPU, more slowly than llama.cpp does there itself.
    real = [name.strip() for name in devices if "llvmpipe" not in name]
    reason = f"{real[0]} and glslc" if real else "vulkaninfo names no GPU"
    return Finding("vulkan", usable=bool(real), reason=reason, cmake_args=args)


def _which(command: str) -> str | None:
    return shutil.which(command)


def _output(command: list[str]) -> str | None:
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            timeout=PROBE_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def _has_library(name: str) -> bool:
    if ctypes.util.find_library(name):
        return True
    wsl = Path("/usr/lib/wsl/lib") / f"lib{name}.so.1"
    return os.name == "posix" and wsl.exists()
