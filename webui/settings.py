"""Configuration, read once: defaults < settings file < environment < flags.

A value file: `load` is called by `cli` alone; everybody else receives the frozen result.
"""

from __future__ import annotations

import tomllib
from os import environ
from pathlib import Path
from typing import Any, Literal

from platformdirs import user_data_path
from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from webui.errors import InvalidRequest

ENV_PREFIX = "WEBUI_"
FILE_NAME = "settings.toml"
CHECKOUT = Path(__file__).resolve().parent.parent
Build = Literal["cpu", "cuda", "metal", "rocm", "vulkan"]
LogLevel = Literal["debug", "info", "warning", "error"]


def default_data_dir() -> Path:
    """Return the folder of the platform for data that must last."""
    return user_data_path("hearthside", appauthor=False)


def default_models_dir(data_dir: Path) -> Path:
    """Return models/ of the checkout, or of the data folder where there is no checkout."""
    is_checkout = (CHECKOUT / "pyproject.toml").is_file()
    return (CHECKOUT if is_checkout else data_dir) / "models"


class Settings(BaseSettings):
    """What the server is told at start; names are also flags and `WEBUI_` variables."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, frozen=True, extra="forbid", env_ignore_empty=True
    )

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(
        default=7860, ge=0, le=65535, description="Port to listen on; 0 takes a free one."
    )
    listen: bool = Field(
        default=False, description="Listen on the whole network; refused until accounts exist."
    )
    data_dir: Path = Field(
        default_factory=default_data_dir,
        description="Folder of the database, settings and everything else that must last.",
    )
    models_dir: Path | None = Field(
        default=None,
        description="Folder of model files; by default models/ of the checkout, "
        "or of the data folder when installed.",
    )
    model: str | None = Field(default=None, description="Model to load at start: name or path.")
    starter: bool | Path = Field(
        default=False,
        description="Get the starter model unasked; a path takes a file already there.",
    )
    browser: bool = Field(default=True, description="Open the browser at start.")
    ui: bool = Field(default=True, description="Serve the page; without it only the API.")
    log_level: LogLevel = Field(default="info", description="Least important log lines shown.")
    fake_engine: float | None = Field(
        default=None,
        gt=0,
        le=100_000,
        allow_inf_nan=False,
        description="Answer from a made-up model at this many tokens a second (tests, demos).",
    )
    max_gap_ms: int = Field(
        default=300,
        ge=20,
        le=10_000,
        description="Longest pause between two tokens of a reply while another prompt is read.",
    )
    drain_s: float = Field(
        default=30.0,
        ge=0,
        le=3600,
        allow_inf_nan=False,
        description="How long running replies may go on when their model is unloaded.",
    )
    build: Build | None = Field(
        default=None, description="Kind of llama.cpp to compile at install; found out by default."
    )

    @property
    def database_path(self) -> Path:
        """Return the SQLite file."""
        return self.data_dir / "hearthside.db"


def load(flags: dict[str, Any]) -> Settings:
    """Merge the sources, most important last: defaults, file, environment, flags.

    The file is `settings.toml` of the data folder that flags and environment name.

    Args:
        flags: Values given on the command line, by field name.

    Raises:
        InvalidRequest: A value is wrong or unknown; names field and file.
    """
    try:
        data_dir = Settings(**flags).data_dir.expanduser().absolute()
        file = data_dir / FILE_NAME
        from_file = tomllib.loads(file.read_text("utf-8")) if file.is_file() else {}
        if "data_dir" in from_file:
            raise InvalidRequest(
                f"data_dir cannot stand in {file}, which lies in the data folder itself",
                f"Use --data-dir or {ENV_PREFIX}DATA_DIR.",
            )
        # Arguments beat the environment in pydantic-settings; the file must not.
        named = {name for name in from_file if f"{ENV_PREFIX}{name}".upper() in environ}
        kept = {name: value for name, value in from_file.items() if name not in named}
        settings = Settings(**(kept | flags))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{FILE_NAME} is not valid TOML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise InvalidRequest(f"setting {name}: {first['msg']}", field=name) from error
    models_dir = settings.models_dir or default_models_dir(data_dir)
    return settings.model_copy(
        update={"data_dir": data_dir, "models_dir": models_dir.expanduser().absolute()}
    )
