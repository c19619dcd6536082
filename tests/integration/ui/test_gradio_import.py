"""The real Gradio, imported in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

CODE = """
import gc, os, sys
from pathlib import Path
from webui.ui.gradio_import import gradio_import

finders = list(sys.meta_path)
written = []
Path.write_text = lambda path, *_, **__: written.append(path)
Path.exists = lambda path: False if path.suffix == ".pyi" else os.path.exists(path)
with gradio_import(Path(sys.argv[1])):
    import gradio
from gradio.component_meta import create_or_modify_pyi

assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
assert gradio.Button and create_or_modify_pyi.__module__ == "webui.ui.gradio_import"
assert sys.meta_path == finders and gc.isenabled()
assert not [path for path in written if path.suffix == ".pyi"], written
"""


def test_gradio_is_imported_without_writing_stubs(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", CODE, tmp_path / "gradio"], check=True, timeout=120)
    assert (tmp_path / "gradio").is_dir()
