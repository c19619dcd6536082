"""Certificates: made once, renewed in time, followed when addresses change, refused in words."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import ssl
import stat
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from webui.network import authority
from webui.network.certificates import Certificates, TlsError
from webui.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

START = datetime(2026, 11, 23, tzinfo=UTC)
NAMES = ("desk", "desk.local")
ADDRESS = ipaddress.ip_address("192.168.1.5")
OTHER = ipaddress.ip_address("192.168.1.77")


class Clock:
    """A time that a test sets."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


def made(folder: Path, clock: Clock | None = None, names: tuple[str, ...] = NAMES) -> Certificates:
    return Certificates(Settings(tls=True, data_dir=folder), names, NAMES, clock or Clock())


def server_of(folder: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate((folder / "tls" / "server.pem").read_bytes())


def names_in(certificate: x509.Certificate) -> set[str]:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(name.value) for name in names}


def test_files_are_their_owners_alone(tmp_path: Path) -> None:
    made(tmp_path / "data").open((ADDRESS,))
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    folder = tmp_path / "data" / "tls"
    assert {path.name for path in folder.iterdir()} == {"authority.pem", "ca.crt", "server.pem"}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert b"PRIVATE" not in (folder / "ca.crt").read_bytes()


def test_certificate_is_for_the_names_and_addresses_and_short_enough_for_phones(
    tmp_path: Path,
) -> None:
    made(tmp_path).open((ADDRESS,))
    server = server_of(tmp_path)
    wanted = {*NAMES, "localhost", "192.168.1.5", "127.0.0.1", "::1"}
    assert names_in(server) == wanted
    life = server.not_valid_after_utc - server.not_valid_before_utc
    assert life <= timedelta(days=397)
    usage = server.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [x509.oid.ExtendedKeyUsageOID.SERVER_AUTH]


def test_authority_lives_ten_years_and_may_sign_for_local_names_only(tmp_path: Path) -> None:
    certificates = made(tmp_path)
    certificates.open((ADDRESS,))
    assert certificates.authority_pem is not None
    ca = x509.load_pem_x509_certificate(certificates.authority_pem)
    assert 3640 < (ca.not_valid_after_utc - START).days < 3660
    limits = ca.extensions.get_extension_for_class(x509.NameConstraints)
    assert limits.critical
    assert limits.value.permitted_subtrees
    pair = authority.from_pem((tmp_path / "tls" / "authority.pem").read_bytes())
    asked = authority.Subjects(
        ("desk", "a.desk.local", "localhost", "evil.example", "xlocal", "com"),
        (ADDRESS, ipaddress.ip_address("8.8.8.8"), ipaddress.ip_address("fd00::1")),
    )
    allowed = authority.permitted(pair, asked)
    assert allowed.names == ("desk", "a.desk.local", "localhost")
    assert [str(one) for one in allowed.addresses] == ["192.168.1.5", "fd00::1"]


def test_second_start_keeps_everything(tmp_path: Path) -> None:
    first = made(tmp_path)
    first.open((ADDRESS,))
    before = {path.name: path.read_bytes() for path in (tmp_path / "tls").iterdir()}
    second = made(tmp_path)
    second.open((ADDRESS,))
    assert {path.name: path.read_bytes() for path in (tmp_path / "tls").iterdir()} == before
    assert second.fingerprint == first.fingerprint


@pytest.mark.parametrize(("days", "is_renewed"), [(300, False), (340, True), (500, True)])
def test_server_is_renewed_before_its_end_by_the_same_authority(
    tmp_path: Path, days: int, *, is_renewed: bool
) -> None:
    clock = Clock()
    first = made(tmp_path, clock)
    first.open((ADDRESS,))
    before = server_of(tmp_path)
    clock.now += timedelta(days=days)
    second = made(tmp_path, clock)
    second.open((ADDRESS,))
    assert (server_of(tmp_path) != before) is is_renewed
    assert second.fingerprint == first.fingerprint


def test_new_address_gets_a_new_certificate_without_a_restart(tmp_path: Path) -> None:
    certificates = made(tmp_path)
    certificates.open((ADDRESS,))
    certificates.refresh((OTHER,))
    assert names_in(server_of(tmp_path)) >= {"192.168.1.77"}
    assert "192.168.1.5" not in names_in(server_of(tmp_path))


def test_server_that_runs_for_a_year_renews_its_certificate(tmp_path: Path) -> None:
    clock = Clock()
    certificates = made(tmp_path, clock)
    certificates.open((ADDRESS,))
    before = server_of(tmp_path)
    certificates.refresh((ADDRESS,))
    clock.now += timedelta(minutes=1)
    (tmp_path / "tls" / "server.pem").write_bytes(b"not read again so soon")
    certificates.refresh((ADDRESS,))
    assert (tmp_path / "tls" / "server.pem").read_bytes() == b"not read again so soon"
    clock.now += timedelta(days=340)
    certificates.refresh((ADDRESS,))
    assert server_of(tmp_path) != before
    assert server_of(tmp_path).not_valid_after_utc > clock.now + timedelta(days=300)


def test_authority_that_is_over_is_made_anew(tmp_path: Path) -> None:
    clock = Clock()
    first = made(tmp_path, clock)
    first.open(())
    clock.now += timedelta(days=3700)
    second = made(tmp_path, clock)
    second.open(())
    assert second.fingerprint != first.fingerprint


def test_last_certificate_does_not_outlive_its_authority(tmp_path: Path) -> None:
    clock = Clock()
    made(tmp_path, clock).open(())
    clock.now += timedelta(days=3600)
    certificates = made(tmp_path, clock)
    certificates.open(())
    assert certificates.authority_pem is not None
    ca = x509.load_pem_x509_certificate(certificates.authority_pem)
    assert server_of(tmp_path).not_valid_after_utc == ca.not_valid_after_utc


def test_name_that_the_authority_may_not_sign_for_is_left_out_and_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made(tmp_path).open(())
    certificates = made(tmp_path, names=(*NAMES, "chat.example.org"))
    with caplog.at_level(logging.WARNING):
        certificates.open(())
        certificates.refresh(())
    assert "chat.example.org" not in names_in(server_of(tmp_path))
    assert [record.getMessage().count("chat.example.org") for record in caplog.records] == [1]


def test_name_that_was_there_when_the_authority_was_made_is_signed_for(tmp_path: Path) -> None:
    made(tmp_path, names=(*NAMES, "chat.example.org")).open(())
    assert "chat.example.org" in names_in(server_of(tmp_path))


def test_authority_made_for_this_machine_alone_may_sign_for_its_names_later(tmp_path: Path) -> None:
    made(tmp_path, names=()).open(())
    assert "desk" not in names_in(server_of(tmp_path))
    made(tmp_path).open(())
    assert names_in(server_of(tmp_path)) >= set(NAMES)


def test_damaged_authority_is_refused_and_left_alone(tmp_path: Path) -> None:
    made(tmp_path).open(())
    path = tmp_path / "tls" / "authority.pem"
    path.write_bytes(b"nothing")
    with pytest.raises(TlsError, match="damaged"):
        made(tmp_path).open(())
    assert path.read_bytes() == b"nothing"


def test_damaged_server_certificate_is_made_anew(tmp_path: Path) -> None:
    made(tmp_path).open(())
    (tmp_path / "tls" / "server.pem").write_bytes(b"nothing")
    made(tmp_path).open(())
    assert names_in(server_of(tmp_path)) >= set(NAMES)


def own_files(folder: Path) -> tuple[Path, Path]:
    """Write a certificate and its key as others make them."""
    pair = authority.make_authority(authority.Subjects((), ()), "x", START)
    key, certificate = folder / "key.pem", folder / "cert.pem"
    text = authority.to_pem(pair)
    split = text.index(b"-----BEGIN CERTIFICATE")
    key.write_bytes(text[:split])
    certificate.write_bytes(text[split:])
    return certificate, key


def test_given_certificate_is_loaded_and_followed(tmp_path: Path) -> None:
    certificate, key = own_files(tmp_path)
    settings = Settings(tls_cert=certificate, tls_key=key, data_dir=tmp_path / "data")
    assert settings.is_tls
    certificates = Certificates(settings, NAMES, NAMES)
    certificates.open(())
    assert (certificates.fingerprint, certificates.authority_pem) == (None, None)
    assert not (tmp_path / "data").exists()
    loaded = certificates._loaded
    own_files(tmp_path)
    certificates.refresh(())
    assert certificates._loaded != loaded


def handshake(certificates: Certificates) -> bytes:
    """Shake hands in memory; return the certificate that the server showed."""
    visitor = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    visitor.check_hostname, visitor.verify_mode = False, ssl.CERT_NONE
    to_server, to_visitor = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = certificates.context.wrap_bio(to_server, to_visitor, server_side=True)
    client = visitor.wrap_bio(to_visitor, to_server)
    for side in (client, server, client, server):
        with contextlib.suppress(ssl.SSLWantReadError):
            side.do_handshake()
    shown = client.getpeercert(binary_form=True)
    assert shown is not None
    return shown


def test_files_that_go_bad_while_served_leave_the_old_ones_in_use_and_are_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    certificate, key = own_files(tmp_path)
    settings = Settings(tls_cert=certificate, tls_key=key, data_dir=tmp_path / "data")
    certificates = Certificates(settings, NAMES, NAMES)
    certificates.open(())
    before = handshake(certificates)
    kept = key.read_bytes()
    own_files(tmp_path)
    new = key.read_bytes()
    key.write_bytes(kept)  # a certificate without its key yet, as while files are copied
    with caplog.at_level(logging.WARNING):
        certificates.refresh(())
        certificates.refresh(())
    assert len(caplog.records) == 1
    assert handshake(certificates) == before
    key.write_bytes(new)
    certificates.refresh(())
    assert handshake(certificates) != before


@pytest.mark.parametrize("what", ["missing", "no key", "another key", "text"])
def test_given_certificate_of_no_use_is_refused_in_words(tmp_path: Path, what: str) -> None:
    certificate, key = own_files(tmp_path)
    given: Path | None = key
    if what == "missing":
        certificate.unlink()
    elif what == "no key":
        given = None
    elif what == "another key":
        kept = certificate.read_bytes()
        own_files(tmp_path)
        certificate.write_bytes(kept)
    else:
        certificate.write_text("no certificate")
    settings = Settings(tls_cert=certificate, tls_key=given, data_dir=tmp_path)
    with pytest.raises(TlsError) as caught:
        Certificates(settings, NAMES, NAMES).open(())
    assert str(certificate) in caught.value.message
    assert "--tls-cert" in caught.value.hint


def test_old_versions_of_tls_are_off(tmp_path: Path) -> None:
    assert made(tmp_path).context.minimum_version == ssl.TLSVersion.TLSv1_2
