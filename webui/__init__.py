"""Hearthside: a multi-user web UI for language models that run on your own machine.

Standard library only, and readable by older Pythons, so that they can say what is missing.
"""

__version__ = "0.1.0"
