"""The install decides right: what is found, what is built, what is done again."""

from __future__ import annotations

import ast
import io
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from webui.bootstrap import accelerators, llama, lock, pip, start, venv
from webui.bootstrap import install as installing
from webui.bootstrap.accelerators import Finding, Machine, cmake_args, look, minutes
from webui.bootstrap.pip import PipFailed
from webui.bootstrap.terminal import Progress, Stop

ROOT = Path(__file__).resolve().parents[2]
GPU = "GPU 0: NVIDIA H200 (UUID: GPU-1234)\n"
GFX = "  Name:                    gfx1100            \n  Name: AMD Ryzen\n"
VULKAN = "deviceName         = AMD Radeon RX 7900\n"
SOFTWARE = "deviceName = llvmpipe (LLVM 15)\n"


def machine(
    *commands: str,
    platform: str = "linux",
    architecture: str = "x86_64",
    libraries: tuple[str, ...] = (),
    **outputs: str,
) -> Machine:
    return Machine(
        platform=platform,
        architecture=architecture,
        which=lambda name: f"/usr/bin/{name}" if name in commands else None,
        output=lambda command: outputs.get(Path(command[0]).name.replace("-", "_")),
        has_library=lambda name: name in libraries,
    )


@pytest.mark.parametrize(
    ("here", "kind"),
    [
        (machine(), "cpu"),
        (machine("nvcc"), "cpu"),
        (machine(nvidia_smi=GPU), "cpu"),
        (machine("nvcc", nvidia_smi=GPU), "cuda"),
        (machine("nvcc", libraries=("cuda",)), "cuda"),
        (machine(platform="darwin", architecture="arm64"), "metal"),
        (machine(platform="darwin"), "cpu"),
        (machine("hipconfig", "rocminfo", rocminfo=GFX), "rocm"),
        (machine("hipconfig", "rocminfo", rocminfo="Name: AMD Ryzen\n"), "cpu"),
        (machine("glslc", vulkaninfo=VULKAN), "vulkan"),
        (machine("glslc", vulkaninfo=SOFTWARE), "cpu"),
        (machine(vulkaninfo=VULKAN), "cpu"),
        (machine("nvcc", "glslc", nvidia_smi=GPU, vulkaninfo=VULKAN), "cuda"),
    ],
)
def test_best_usable_build_is_chosen(here: Machine, kind: str) -> None:
    assert llama.choose(look(here), None).build == kind


def test_finding_says_what_is_missing() -> None:
    cuda = look(machine(nvidia_smi=GPU))[0]
    assert not cuda.usable
    assert "nvcc" in cuda.reason


def test_asked_build_is_taken_against_what_was_found() -> None:
    assert llama.choose(look(machine()), "vulkan").build == "vulkan"


def test_rocm_compiles_for_the_cards_that_are_here_with_its_own_compiler() -> None:
    here = machine("hipconfig", "rocminfo", rocminfo=GFX, hipconfig="/opt/rocm/llvm/bin\n")
    rocm = next(finding for finding in look(here) if finding.build == "rocm")
    assert "-DGPU_TARGETS=gfx1100" in rocm.cmake_args
    assert rocm.environment == {"HIPCXX": "/opt/rocm/llvm/bin/clang"}


def test_cmake_args_of_the_cpu_leave_native_code_on_and_rpc_off() -> None:
    args = cmake_args(look(machine())[-1])
    assert "GGML_RPC=OFF" in args
    assert "NATIVE" not in args
    for language in ("C", "CXX"):
        assert f"-DCMAKE_{language}_FLAGS=-U__AMX_INT8__" in args.split()


def test_compile_time_is_a_guess_of_at_least_a_minute() -> None:
    assert minutes("cpu", 1000) == 1
    assert all(minutes(build, 2) > 1 for build in accelerators.BUILDS)


def test_lock_file_is_split_by_package_and_python() -> None:
    blocks = lock.split(
        "a==1 \\\n    --hash=sha256:1\nb-c==2.0 ; x < '3' \\\n    --hash=sha256:2\n"
        "b-c==3 ; x >= '3' \\\n    --hash=sha256:3\n"
    )
    assert list(blocks) == ["a", "b-c"]
    assert len(blocks["b-c"]) == 2
    assert [lock.version(block) for block in blocks["b-c"]] == ["2.0", "3"]


@pytest.mark.parametrize("name", [lock.RUN, lock.DEVELOP])
def test_lock_files_pin_and_hash_everything(name: str) -> None:
    text = (ROOT / ".ci" / name).read_text("utf-8")
    blocks = lock.split(text)
    assert "\n".join(part for parts in blocks.values() for part in parts) == text.strip()
    assert all("--hash=sha256:" in part for parts in blocks.values() for part in parts)
    assert lock.version(blocks["gradio"][0]) == "6.31.0"
    assert lock.version(blocks[lock.LLAMA][0]) == "0.3.36"
    assert lock.PIP in blocks


def test_lock_files_agree_with_each_other() -> None:
    run, develop = (
        lock.split((ROOT / ".ci" / name).read_text("utf-8")) for name in (lock.RUN, lock.DEVELOP)
    )
    assert {name: blocks for name, blocks in develop.items() if name in run} == run


@pytest.mark.parametrize(
    ("arguments", "environ", "build"),
    [
        ([], {}, None),
        (["--build", "cuda"], {}, "cuda"),
        (["serve", "--build=metal"], {"WEBUI_BUILD": "cpu"}, "metal"),
        ([], {"WEBUI_BUILD": "rocm"}, "rocm"),
        ([], {"WEBUI_BUILD": ""}, None),
    ],
)
def test_build_is_named_by_flag_or_environment(
    arguments: list[str], environ: dict[str, str], build: str | None
) -> None:
    assert start.wanted_build(arguments, environ) == build


@pytest.mark.parametrize("arguments", [["--build"], ["--build", "opencl"], ["--build="]])
def test_unknown_build_stops(arguments: list[str]) -> None:
    with pytest.raises(Stop, match="cuda"):
        start.wanted_build(arguments, {})


def test_stamp_is_read_as_written_and_only_when_whole(tmp_path: Path) -> None:
    path = tmp_path / "stamp.json"
    assert lock.read_stamp(path) is None
    stamp = lock.Stamp({lock.RUN: "abc"}, "cuda")
    lock.write_stamp(path, stamp)
    assert lock.read_stamp(path) == stamp
    path.write_text('{"digests": {}')
    assert lock.read_stamp(path) is None


class FakePip:
    """Pip that compiles everything but what it is told it cannot.

    Args:
        fails: Part of CMAKE_ARGS that does not compile.
        installed: Version that is there already.
    """

    log = Path("install.log")

    def __init__(self, *, fails: str | None = None, installed: str | None = None) -> None:
        self.fails = fails
        self.installed = installed
        self.flags: list[list[str]] = []

    def install(self, blocks, progress, describe, *, flags=(), extra=None) -> None:  # type: ignore[no-untyped-def]  # as Pip.install
        self.flags.append(list(flags))
        if self.fails and self.fails in extra["CMAKE_ARGS"]:
            raise PipFailed("nvcc fatal: unsupported", is_offline=False)

    def installed_version(self, package: str) -> str | None:
        return self.installed

    def own_cache(self, purpose: str) -> list[str]:
        return ["--cache-dir", purpose]

    def explain(self, failed: PipFailed) -> str:
        return failed.reason


@pytest.fixture
def with_compilers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(venv, "check_compile", lambda: None)
    monkeypatch.delenv("CMAKE_ARGS", raising=False)


CUDA_MACHINE = machine("nvcc", nvidia_smi=GPU)
BLOCK = "llama-cpp-python==0.3.36 \\\n    --hash=sha256:1"


def install(fake: FakePip, asked: str | None = None, before: str | None = None) -> str:
    return llama.install(fake, BLOCK, asked=asked, before=before, machine=CUDA_MACHINE)  # type: ignore[arg-type]  # a fake


@pytest.mark.usefixtures("with_compilers")
def test_gpu_build_that_fails_falls_back_to_the_cpu(capsys: pytest.CaptureFixture[str]) -> None:
    fake = FakePip(fails="GGML_CUDA")
    assert install(fake) == "cpu"
    assert len(fake.flags) == 2
    said = capsys.readouterr().out
    assert "nvcc fatal: unsupported" in said
    assert "Falling back to the CPU" in said


@pytest.mark.usefixtures("with_compilers")
def test_asked_build_that_fails_stops() -> None:
    with pytest.raises(Stop, match="nvcc fatal"):
        install(FakePip(fails="GGML_CUDA"), asked="cuda")


@pytest.mark.usefixtures("with_compilers")
def test_other_kind_is_compiled_anew_from_a_cache_of_its_own() -> None:
    fake = FakePip(installed="0.3.36")
    assert install(fake, asked="cuda", before="cpu") == "cuda"
    assert "--force-reinstall" in fake.flags[0]
    assert "--cache-dir" in fake.flags[0]


@pytest.mark.usefixtures("with_compilers")
def test_wheel_that_was_compiled_with_other_flags_is_not_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake = FakePip()
    install(fake, asked="cpu")
    monkeypatch.setenv("CMAKE_ARGS", "-DGGML_NATIVE=OFF")
    install(fake, asked="cpu")
    (ours, theirs) = (flags[flags.index("--cache-dir") + 1] for flags in fake.flags)
    assert theirs.startswith("-DGGML_NATIVE=OFF ")
    assert theirs != ours


@pytest.mark.usefixtures("with_compilers")
def test_wheel_that_was_compiled_for_another_processor_is_not_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake = FakePip()
    install(fake, asked="cpu")
    monkeypatch.setattr(accelerators, "processor", lambda: "x86_64 avx")
    install(fake, asked="cpu")
    assert fake.flags[0] != fake.flags[1]


def test_processor_is_told_by_its_instruction_sets() -> None:
    assert platform.machine() in accelerators.processor()


@pytest.mark.usefixtures("with_compilers")
def test_same_kind_and_version_is_left_alone() -> None:
    fake = FakePip(installed="0.3.36")
    assert install(fake, before="cuda") == "cuda"
    assert fake.flags == []


def test_missing_compiler_stops_with_the_package_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(Stop, match="compiler"):
        venv.check_compile()


def test_full_disk_stops_with_both_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=100_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(Stop, match=r"0\.1 GB free.*1\.5 GB"):
        venv.check_room(tmp_path)


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (
            "[7/9] c++ -I/x/llama.cpp/src -o a.cpp.o -c /x/llama.cpp/src/unicode.cpp",
            "7/9 unicode.cpp",
        ),
        ("[9/9] : && c++ -shared -o bin/libllama.so a.o b.o -lm", "9/9 linking"),
        ("  [12/240] Building CXX object ggml/src/CMakeFiles/x.dir/ggml.cpp.o", "12/240 ggml.cpp"),
        ("  [3/9] /usr/bin/c++ -DX -I/a/b -o ops.o -c /a/ops.cpp", "3/9 ops.cpp"),
        ("  Building wheel for llama_cpp_python (pyproject.toml)", "configuring"),
        ("warning: unused", None),
    ],
)
def test_line_of_the_compile_is_shown_shortly(line: str, shown: str | None) -> None:
    assert llama.describe(line) == shown


def test_pip_that_fails_names_the_first_error(tmp_path: Path) -> None:
    script = (
        "print('noise'); print('x.cu:1: fatal error: no room'); print('ERROR: Failed'); exit(3)"
    )
    with pytest.raises(PipFailed) as caught:
        pip._run(
            [sys.executable, "-c", script], tmp_path / "log", Progress("x"), lambda line: None, {}
        )
    assert caught.value.reason == "x.cu:1: fatal error: no room"
    assert not caught.value.is_offline
    assert "noise" in (tmp_path / "log").read_text()


def test_pip_without_network_is_told_from_a_broken_build(tmp_path: Path) -> None:
    script = "print('NewConnectionError: Temporary failure in name resolution'); exit(1)"
    with pytest.raises(PipFailed) as caught:
        pip._run(
            [sys.executable, "-c", script], tmp_path / "log", Progress("x"), lambda line: None, {}
        )
    assert caught.value.is_offline


def test_progress_without_a_terminal_is_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    progress = Progress("packages")
    progress.show("1/3")
    progress.done("done")
    assert stream.getvalue() == "  packages  0:00  done\n"


@pytest.mark.parametrize("path", ["webui/__init__.py", "webui/__main__.py", "tests/__main__.py"])
def test_entry_point_is_written_in_words_that_old_pythons_read(path: str) -> None:
    tree = ast.parse((ROOT / path).read_bytes())
    newer = (ast.JoinedStr, ast.AnnAssign, ast.NamedExpr, ast.Match, ast.FunctionDef, ast.Starred)
    assert not [node for node in ast.walk(tree) if isinstance(node, newer)]
    futures = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert "__future__" not in {node.module for node in futures}


def test_old_python_is_told_what_is_needed() -> None:
    names = (f"python{version}" for version in ("2.7", "3.6", "3.7", "3.8", "3.9", "3.10"))
    old = [path for name in names if (path := shutil.which(name)) and _runs(path)]
    if not old:
        pytest.skip("there is no Python older than 3.11 on this machine")
    for python in old:
        done = subprocess.run(
            [python, "-B", "-m", "webui"], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        assert "3.11" in done.stderr
        assert "Traceback" not in done.stderr


def _runs(path: str) -> bool:
    return subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode == 0


def test_finding_has_a_name_for_people() -> None:
    assert Finding("cuda", usable=True, reason="").name == "CUDA"


def test_compile_says_by_its_own_pace_how_long_it_takes():
    now_s = 0.0
    shown = llama.Remaining(lambda: now_s)
    assert shown.describe("Collecting llama") is None
    said = []
    for step in range(1, 62):
        said.append(shown.describe(f"[{step}/101] Building C object ggml.c.o"))
        now_s += 6.0
    assert said[:20] == [f"{step}/101 ggml.c" for step in range(1, 21)]
    assert said[20] == "21/101 ggml.c, about 8 min left"
    assert said[60] == "61/101 ggml.c, about 4 min left"


def test_lock_file_that_changes_during_an_install_is_installed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".ci").mkdir()
    for name in (lock.RUN, lock.DEVELOP):
        (tmp_path / ".ci" / name).write_text("pip==1\nllama-cpp-python==1\n")
    folder = tmp_path / ".venv"
    monkeypatch.setattr(installing.venv, "make", lambda folder, block: None)
    monkeypatch.setattr(installing.venv, "site_packages", lambda folder: folder)
    folder.mkdir()
    before = lock.digest(tmp_path / ".ci" / lock.RUN)

    def pull(*args: object) -> None:
        (tmp_path / ".ci" / lock.RUN).write_text("pip==2\nllama-cpp-python==1\n")

    monkeypatch.setattr(installing, "packages", pull)
    monkeypatch.setattr(installing.llama, "install", lambda *args, **options: "cpu")
    installing.install(tmp_path, folder, folder / "stamp.json", lock.RUN, None)
    stamp = lock.read_stamp(folder / "stamp.json")
    assert stamp is not None
    assert stamp.digests == {lock.RUN: before}
