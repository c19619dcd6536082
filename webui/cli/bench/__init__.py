"""`webui bench`: what this machine measures; one file per kind of measurement."""

from webui.cli.bench.group import bench

__all__ = ["bench"]
