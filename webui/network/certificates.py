"""The certificate that https is served with: a given one, or one of our own authority.

Knows the files and the TLS context. Ours lie in `tls/` of the data folder: `authority.pem` (its
key and certificate, for its owner alone), `ca.crt` (what devices shall trust) and `server.pem`.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import os
import ssl
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from webui.errors import WebuiError

if TYPE_CHECKING:
    from collections.abc import Callable

    from webui.network.addresses import IPAddress
    from webui.network.authority import Pair, Subjects
    from webui.settings import Settings

logger = logging.getLogger(__name__)

AUTHORITY, PUBLIC, SERVER = "authority.pem", "ca.crt", "server.pem"
LOOPBACK_NAMES = ("localhost",)
LOOPBACK_ADDRESSES = ("127.0.0.1", "::1")
FOLDER_MODE = 0o700
CHECKED_EVERY = timedelta(hours=1)


class TlsError(WebuiError):
    """https cannot be served with the certificate that there is."""

    code = "tls_unusable"


class Certificates:
    """One TLS context and the files that it comes from.

    Args:
        settings: Which certificate is given, or where ours lie.
        names: Host names that a certificate of ours is for.
        own_names: Those of this machine; its authority may sign for them also when it is not
            reached under them yet. The first one names it.
        clock: The time, aware.
    """

    def __init__(
        self,
        settings: Settings,
        names: tuple[str, ...],
        own_names: tuple[str, ...],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._folder = settings.tls_dir
        self._given = None if settings.tls_cert is None else (settings.tls_cert, settings.tls_key)
        self._names = tuple(dict.fromkeys((*names, *LOOPBACK_NAMES)))
        self._own_names = own_names
        self._clock = clock
        self._loaded: object = None
        self._refused: Subjects | None = None
        self._checked_for: tuple[IPAddress, ...] | None = None
        self._checked_at = clock()
        self._told = ""
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.fingerprint: str | None = None
        self.authority_pem: bytes | None = None

    def open(self, addresses: tuple[IPAddress, ...]) -> None:
        """Load the certificate into the context; makes ours where none is given; blocks.

        Raises:
            TlsError: A file is missing, damaged or of no use; nothing was changed.
            OSError: Ours cannot be written.
        """
        if self._given is None:
            self._open_ours(addresses)
        else:
            self._open_given(*self._given)

    def refresh(self, addresses: tuple[IPAddress, ...]) -> None:
        """Follow new addresses and renewed files; what cannot be used is logged; blocks.

        Cheap when there is nothing new: it may be called every few seconds.
        """
        now = self._clock()
        is_known = self._given is None and addresses == self._checked_for
        if is_known and now - self._checked_at < CHECKED_EVERY:
            return
        self._checked_for, self._checked_at = addresses, now
        try:
            self.open(addresses)
        except (TlsError, OSError) as error:
            if str(error) != self._told:
                logger.warning("the certificate stays as it is: %s", error)
            self._told = str(error)
        else:
            self._told = ""

    def _open_given(self, certificate: Path, key: Path | None) -> None:
        flag = "--tls-key" if key else "--tls-cert"
        try:
            state = tuple(path.stat().st_mtime_ns for path in (certificate, key) if path)
            if state == self._loaded:
                return
            self._load(certificate, key)
        except OSError as error:  # SSLError is one
            is_ssl = isinstance(error, ssl.SSLError)
            why = "not a certificate with its key" if is_ssl else error.strerror or str(error)
            raise TlsError(
                f"https cannot be served with {certificate}: {why}",
                f"Give PEM files: --tls-cert with the chain, {flag} without a password.",
                field="tls_cert",
            ) from error
        self._loaded = state

    def _open_ours(self, addresses: tuple[IPAddress, ...]) -> None:
        # Takes a tenth of a second to load, and only this kind of server needs it.
        from webui.network import authority as ours

        now = self._clock()
        loopback = tuple(ipaddress.ip_address(one) for one in LOOPBACK_ADDRESSES)
        wanted = ours.Subjects(self._names, tuple(dict.fromkeys((*addresses, *loopback))))
        authority = self._authority(wanted, now)
        subjects = ours.permitted(authority, wanted)
        self._tell_refused(wanted, subjects)
        server = self._read(SERVER)
        if server is None or not ours.is_good(authority, server, subjects, now):
            server = ours.make_server(authority, subjects, now)
            self._write(SERVER, ours.to_pem(server, authority.certificate))
        fingerprint = ours.fingerprint_of(server)
        if fingerprint != self._loaded:
            self._load(self._folder / SERVER, None)
            self._loaded = fingerprint

    def _authority(self, wanted: Subjects, now: datetime) -> Pair:
        """Return the authority of this folder; makes it the first time, and when it is over."""
        from webui.network import authority as ours

        path = self._folder / AUTHORITY
        authority = self._read(AUTHORITY)
        if authority is None and path.exists():
            raise TlsError(
                f"{path} is damaged",
                "Restore it from a backup, or delete it: then every device must trust a new one.",
            )
        if authority is None or ours.is_over(authority, now):
            names = tuple(dict.fromkeys((*self._own_names, *wanted.names)))
            limits = ours.Subjects(names, wanted.addresses)
            authority = ours.make_authority(limits, self._own_names[0], now)
            self._write(AUTHORITY, ours.to_pem(authority))
        self.authority_pem = ours.public_pem(authority)
        self.fingerprint = ours.fingerprint_of(authority)
        public = self._folder / PUBLIC
        if not public.exists() or public.read_bytes() != self.authority_pem:
            self._write(PUBLIC, self.authority_pem)
        return authority

    def _tell_refused(self, wanted: Subjects, subjects: Subjects) -> None:
        """Log once what our authority may not sign for."""
        refused = wanted._replace(
            names=tuple(name for name in wanted.names if name not in subjects.names),
            addresses=tuple(one for one in wanted.addresses if one not in subjects.addresses),
        )
        if refused != self._refused and any(refused):
            shown = ", ".join([*refused.names, *map(str, refused.addresses)])
            logger.warning(
                "the certificate is not for %s: the authority in %s may not sign for it. Give a "
                "certificate of your own, or delete the authority and trust the new one",
                shown,
                self._folder,
            )
        self._refused = refused

    def _load(self, certificate: Path, key: Path | None) -> None:
        """Load files into the context; one that is in use is not left with half of them."""
        for context in (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), self.context):
            # Without a function OpenSSL would ask for a password on the terminal.
            context.load_cert_chain(certificate, key, password=lambda: b"")

    def _read(self, name: str) -> Pair | None:
        """Return a file of ours; None when it is missing or damaged."""
        from webui.network import authority as ours

        try:
            return ours.from_pem((self._folder / name).read_bytes())
        except (FileNotFoundError, ValueError):
            return None

    def _write(self, name: str, content: bytes) -> None:
        """Replace a file of ours as a whole, for its owner alone."""
        # The data folder may be new: it is its owner's alone too.
        for folder in (self._folder.parent, self._folder):
            folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        file, temporary = tempfile.mkstemp(dir=self._folder, prefix=f".{name}-")  # mode 0600
        try:
            with os.fdopen(file, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            Path(temporary).replace(self._folder / name)
        except OSError:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()
            raise
