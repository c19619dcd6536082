"""Configuration, read once: defaults < settings file < environment < flags.

A value file: `load` is called by `cli` alone; everybody else receives the frozen result.
"""

from __future__ import annotations

import tomllib
from difflib import get_close_matches
from ipaddress import ip_network
from os import environ
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from platformdirs import user_data_path
from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from webui.errors import InvalidRequest
from webui.refusals import place, predicate
from webui.setting_values import HostNames, Issuer, Proxies, RootPath, Scopes, UserHeader

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

ENV_PREFIX = "WEBUI_"
FILE_NAME = "settings.toml"
MAX_SHOWN_CHARS = 100
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
        default=False, description="Listen on the whole network; strangers must sign in."
    )
    allowed_hosts: HostNames = Field(
        default=(),
        max_length=100,
        description="Further host names this server answers for, such as that of a proxy.",
    )
    tls: bool = Field(
        default=False,
        description="Serve https, with a certificate of an authority made for this data folder "
        "where none is given.",
    )
    tls_cert: Path | None = Field(
        default=None, description="Certificate to serve https with, as PEM with its chain."
    )
    tls_key: Path | None = Field(
        default=None, description="Private key of that certificate, as PEM without a password."
    )
    mdns: bool = Field(
        default=True, description="Tell the network the name of this server while listening on it."
    )
    trusted_proxy: Proxies = Field(
        default=(),
        max_length=100,
        description="Address or network of a reverse proxy whose X-Forwarded headers are believed.",
    )
    root_path: RootPath = Field(
        default="", description="Path under which a reverse proxy shows this server."
    )
    requests_per_s: float = Field(
        default=50.0,
        ge=0,
        le=100_000,
        allow_inf_nan=False,
        description="Requests a second that one person, or one address of strangers, may send; "
        "0 counts none.",
    )
    session_idle_days: int = Field(
        default=14, ge=1, le=3650, description="Days without use after which a sign-in ends."
    )
    session_days: int = Field(
        default=30,
        ge=1,
        le=3650,
        description="Days after which a sign-in ends, however much it is used.",
    )
    trusted_user_header: UserHeader | None = Field(
        default=None,
        description="Header in which a trusted proxy says who is signed in, such as Remote-User.",
    )
    trusted_user_auto_create: bool = Field(
        default=False, description="Make an account for who comes by that header and has none."
    )
    oidc_issuer: Issuer | None = Field(
        default=None,
        max_length=500,
        description="Address of an OpenID Connect provider by which people may sign in.",
    )
    oidc_client_id: str | None = Field(
        default=None,
        min_length=1,
        max_length=500,
        description="What that provider calls this server.",
    )
    oidc_client_secret_file: Path | None = Field(
        default=None, description="File with the secret that the provider gave this server."
    )
    oidc_name: str = Field(
        default="OpenID Connect",
        min_length=1,
        max_length=40,
        description="What people call that provider.",
    )
    oidc_scopes: Scopes = Field(
        default="openid profile",
        max_length=500,
        description="What the provider is asked for, with spaces between the words.",
    )
    oidc_auto_create: bool = Field(
        default=False, description="Make an account for who comes from there and has none."
    )
    oidc_email_domains: HostNames = Field(
        default=(),
        max_length=100,
        description="Make one only for a confirmed e-mail address of these domains.",
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
    load_stall_s: float = Field(
        default=60.0,
        ge=1,
        le=86_400,
        allow_inf_nan=False,
        description="How long a load may make no progress before the Model tab says so.",
    )
    cache_ram_mb: int = Field(
        default=1024,
        ge=0,
        le=1_048_576,
        description="Memory for conversations that models have read, in MiB; 0 keeps none.",
    )
    cache_disk_mb: int = Field(
        default=8192,
        ge=0,
        le=16_777_216,
        description="Disk for the same, so that they are not read anew after a restart, in MiB; "
        "0 keeps none.",
    )
    cache_api_hours: int = Field(
        default=24,
        ge=1,
        le=8760,
        description="How long what programs had read stays on that disk after its last use.",
    )
    build: Build | None = Field(
        default=None, description="Kind of llama.cpp to compile at install; found out by default."
    )

    @property
    def is_tls(self) -> bool:
        """Return whether https is served."""
        return self.tls or self.tls_cert is not None

    @property
    def tls_dir(self) -> Path:
        """Return the folder of our own certificate authority."""
        return self.data_dir / "tls"

    @property
    def states_dir(self) -> Path:
        """Return the folder of what models have read."""
        return self.data_dir / "cache" / "states"

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
        InvalidRequest: A value is wrong or unknown; names the flag, variable or line of the file
            that it stands in.
    """
    data_dir = _checked(flags, {}, Path(FILE_NAME)).data_dir.expanduser().absolute()
    file = data_dir / FILE_NAME
    settings = _checked(flags, _read(file), file)
    if settings.tls_key and not settings.tls_cert:
        raise InvalidRequest(
            f"the private key {settings.tls_key} is given without its certificate",
            "Name it with --tls-cert.",
            field="tls_key",
        )
    _check_ways_in(settings)
    paths = {
        "data_dir": data_dir,
        "models_dir": settings.models_dir or default_models_dir(data_dir),
        "tls_cert": settings.tls_cert,
        "tls_key": settings.tls_key,
        "oidc_client_secret_file": settings.oidc_client_secret_file,
    }
    return settings.model_copy(
        update={name: path.expanduser().absolute() for name, path in paths.items() if path}
    )


def _check_ways_in(settings: Settings) -> None:
    """Check that what says who signs in is whole.

    Raises:
        InvalidRequest: Something is missing without which it is unsafe, or does nothing.
    """
    oidc = ("client_id", "client_secret_file", "auto_create", "email_domains")
    given = [f"oidc_{name}" for name in oidc if getattr(settings, f"oidc_{name}")]
    everybody = [one for one in settings.trusted_proxy if ip_network(one).prefixlen == 0]
    header = settings.trusted_user_header
    problem = None
    if settings.oidc_issuer and not settings.oidc_client_id:
        problem = "oidc_client_id", "oidc_issuer is given without oidc_client_id", "Give both."
    elif given and not settings.oidc_issuer:
        problem = "oidc_issuer", f"{given[0]} is given without oidc_issuer", "Name the provider."
    elif settings.oidc_email_domains and "email" not in settings.oidc_scopes.split(" "):
        said = "oidc_email_domains is given, but oidc_scopes does not ask for email"
        problem = "oidc_scopes", said, "Add the word email to oidc_scopes."
    elif header and not settings.trusted_proxy:
        said = f"the header {header} is to be believed, but of no proxy"
        problem = "trusted_proxy", said, "Name the proxy with --trusted-proxy."
    elif header and everybody:
        said = f"the header {header} would be believed from anybody: {everybody[0]} is everywhere"
        problem = "trusted_proxy", said, "Name the address of the proxy alone."
    elif header and settings.oidc_auto_create:
        said = "oidc_auto_create takes names that the header may give to somebody else"
        problem = "oidc_auto_create", said, "Leave one of the two out."
    elif settings.trusted_user_auto_create and not header:
        said = "trusted_user_auto_create is given without trusted_user_header"
        problem = "trusted_user_header", said, "Name the header with --trusted-user-header."
    if problem:
        field, said, hint = problem
        raise InvalidRequest(said, hint, field=field)


def _read(file: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(file.read_text("utf-8")) if file.is_file() else {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{file} is not valid TOML: {error}") from error
    if "data_dir" in values:
        raise InvalidRequest(
            f"data_dir cannot stand in {file}, which lies in the data folder itself",
            f"Use --data-dir or {ENV_PREFIX}DATA_DIR.",
        )
    return values


def _checked(flags: dict[str, Any], from_file: dict[str, Any], file: Path) -> Settings:
    # Arguments beat the environment in pydantic-settings; the file must not.
    kept = {name: value for name, value in from_file.items() if not _variable(name)}
    try:
        return Settings(**(kept | flags))
    except ValidationError as error:
        problems = error.errors()
        name = place(problems[0])[0]
        if name in flags:
            source = f"--{name.replace('_', '-')}"
        else:
            source = _variable(name) or f"{name} in {file}"
        raise _refusal(problems, source, name) from error


def _variable(name: str) -> str | None:
    """Return the variable that sets a field: in any case, and not empty, as pydantic reads it."""
    wanted = f"{ENV_PREFIX}{name}".upper()
    return next((key for key, value in environ.items() if key.upper() == wanted and value), None)


def _refusal(problems: list[ErrorDetails], source: str, name: str) -> InvalidRequest:
    """Say what was given where, and what is allowed."""
    if name not in Settings.model_fields:
        close = get_close_matches(name, Settings.model_fields, n=1)
        hint = f"Is {close[0]!r} meant?" if close else "Remove it."
        return InvalidRequest(f"{source} is no setting", hint, field=name)
    given = repr(problems[0]["input"])[:MAX_SHOWN_CHARS]
    return InvalidRequest(
        f"{source} {predicate(problems)}, not {given}", _allowed(name), field=name
    )


def _allowed(name: str) -> str:
    """Return what a setting is for and its bounds, as one hint."""
    info = Settings.model_fields[name]
    words = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
    bounds = [
        f"{words[key]} {getattr(limit, key)}"
        for limit in info.metadata
        for key in words
        if hasattr(limit, key)
    ]
    allowed = f" Allowed: {' and '.join(bounds)}." if bounds else ""
    return f"{info.description}{allowed}"
