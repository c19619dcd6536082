"""Make a bare checkout ready to run: `.venv`, the locked packages, llama.cpp for this machine.

Standard library only: it runs before anything is installed, and does nothing when all is there.
"""

from webui.bootstrap.start import enter

__all__ = ["enter"]
