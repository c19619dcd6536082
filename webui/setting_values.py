"""What single settings may be: host names, networks, paths, addresses of providers, headers.

A value file: knows the form of each, not what it is for.
"""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator
from pydantic_settings import NoDecode

HOST_NAME = re.compile(r"[a-z0-9_](?:[a-z0-9._-]{0,251}[a-z0-9_])?")
ROOT_PATH = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*")
SCOPE = re.compile(r"[!#-\[\]-~]{1,100}(?: [!#-\[\]-~]{1,100})*")
HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,99}")
# Headers that browsers write, or that say something else.
NOT_A_USER = re.compile(
    r"(?:accept|access-control|content|if|sec|x-forwarded|x-gradio)-.*|accept|authorization|"
    r"connection|cookie|forwarded|from|host|origin|range|referer|te|trailer|transfer-encoding|"
    r"upgrade|user-agent|x-api-key|x-real-ip"
)


def _listed(value: object) -> object:
    """Read a list from the one string that an environment variable is: with commas."""
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _host_name(value: str) -> str:
    name = value.lower()
    if HOST_NAME.fullmatch(name) is None or ".." in name:
        raise ValueError("must be a host name such as chat.example.org, without scheme and port")
    return name


def _proxy(value: str) -> str:
    try:
        return str(ip_network(value, strict=False))
    except ValueError as error:
        raise ValueError("must be an address or a network such as 10.0.0.0/8") from error


def _root_path(value: str) -> str:
    path = value.rstrip("/")
    if ROOT_PATH.fullmatch(path) is None:
        raise ValueError("must be a path such as /hearthside")
    return path


def _issuer(value: str) -> str:
    said = "must be an https address such as https://login.example.org"
    try:
        parts = urlsplit(value)
        is_here = is_loopback(parts.hostname or "")
        parts.port  # noqa: B018 - raises where it is none
    except ValueError as error:
        raise ValueError(said) from error
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and is_here)
    is_plain = value.isascii() and value.isprintable() and not set(value) & set(" ?#@\\")
    if not (is_safe and is_plain and parts.hostname):
        raise ValueError(said)
    return value


def _scopes(value: str) -> str:
    if SCOPE.fullmatch(value) is None or "openid" not in value.split(" "):
        raise ValueError("must be words with single spaces between them, openid among them")
    return value


def _user_header(value: str) -> str:
    if HEADER.fullmatch(value) is None or NOT_A_USER.fullmatch(value.lower()):
        raise ValueError("must be a header that proxies alone write, such as Remote-User")
    return value


def is_loopback(host: str) -> bool:
    """Whether a host, as it stands in an address, is this machine itself."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


HostNames = Annotated[
    tuple[Annotated[str, AfterValidator(_host_name)], ...], NoDecode, BeforeValidator(_listed)
]
Proxies = Annotated[
    tuple[Annotated[str, AfterValidator(_proxy)], ...], NoDecode, BeforeValidator(_listed)
]
RootPath = Annotated[str, AfterValidator(_root_path)]
Issuer = Annotated[str, AfterValidator(_issuer)]
Scopes = Annotated[str, AfterValidator(_scopes)]
UserHeader = Annotated[str, AfterValidator(_user_header)]
