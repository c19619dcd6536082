"""A certificate authority of one household, and the certificates of its server.

Pure functions over PEM bytes; the time is an argument. The authority may sign for local names
and private addresses only, so that a stolen key cannot pretend to be anybody on the internet.
"""

from __future__ import annotations

import ipaddress
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from datetime import datetime

    from webui.network.addresses import IPAddress

AUTHORITY_LIFE = timedelta(days=3650)
# More than 398 days is refused by Safari: https://support.apple.com/en-us/102028
SERVER_LIFE = timedelta(days=397)
RENEWED_BEFORE_END = timedelta(days=60)
CLOCKS_DIFFER = timedelta(days=1)
LOCAL_NAMES = ("localhost", "local", "lan", "internal", "home.arpa")
LOCAL_NETWORKS = (
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "::1/128",
    "fc00::/7",
    "fe80::/10",
)


class Subjects(NamedTuple):
    """What a certificate is for.

    Attributes:
        names: Host names, in lower case.
        addresses: Addresses of the machine.
    """

    names: tuple[str, ...]
    addresses: tuple[IPAddress, ...]


class Pair(NamedTuple):
    """A private key and its certificate, as read."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate


def make_authority(subjects: Subjects, label: str, now: datetime) -> Pair:
    """Make an authority for local names and networks, and beside them for these.

    Args:
        subjects: Names and addresses that it may sign for though they are not local ones.
        label: Name of the machine, shown by the devices that trust it.
        now: The time.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    # Without a common name iOS does not list it (issue 47 of mkcert).
    name = _name(f"Hearthside on {label}"[:64])
    permitted: list[x509.GeneralName] = [
        x509.DNSName(one) for one in dict.fromkeys((*LOCAL_NAMES, *subjects.names))
    ]
    permitted += [x509.IPAddress(ipaddress.ip_network(one)) for one in LOCAL_NETWORKS]
    permitted += [x509.IPAddress(ipaddress.ip_network(one)) for one in subjects.addresses]
    certificate = (
        _builder(name, name, key.public_key(), now, AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.NameConstraints(permitted, excluded_subtrees=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return Pair(key, certificate)


def make_server(authority: Pair, subjects: Subjects, now: datetime) -> Pair:
    """Make a server's certificate; its subjects must be `permitted`."""
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = authority.certificate
    life = min(SERVER_LIFE, issuer.not_valid_after_utc - now + CLOCKS_DIFFER)
    certificate = (
        _builder(_name("Hearthside"), issuer.subject, key.public_key(), now, life)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(_general_names(subjects)), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()),
            critical=False,
        )
        .sign(authority.key, hashes.SHA256())
    )
    return Pair(key, certificate)


def permitted(authority: Pair, subjects: Subjects) -> Subjects:
    """Return those of the subjects that the authority may sign for."""
    limits = authority.certificate.extensions.get_extension_for_class(x509.NameConstraints).value
    trees = limits.permitted_subtrees or []
    domains = [tree.value for tree in trees if isinstance(tree, x509.DNSName)]
    networks = [tree.value for tree in trees if isinstance(tree, x509.IPAddress)]
    return Subjects(
        tuple(
            name
            for name in subjects.names
            if any(name == domain or name.endswith(f".{domain}") for domain in domains)
        ),
        tuple(
            address
            for address in subjects.addresses
            if any(
                isinstance(network, ipaddress.IPv4Network | ipaddress.IPv6Network)
                and address in network
                for network in networks
            )
        ),
    )


def is_good(authority: Pair, server: Pair, subjects: Subjects, now: datetime) -> bool:
    """Whether a server's certificate need not be made anew."""
    certificate = server.certificate
    if not (
        certificate.not_valid_before_utc
        <= now
        < certificate.not_valid_after_utc - RENEWED_BEFORE_END
    ):
        return False
    try:
        certificate.verify_directly_issued_by(authority.certificate)
    except (ValueError, TypeError, InvalidSignature):
        return False
    written = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return set(written) == set(_general_names(subjects))


def is_over(authority: Pair, now: datetime) -> bool:
    """Whether the life of an authority has ended."""
    return now >= authority.certificate.not_valid_after_utc


def to_pem(pair: Pair, *chain: x509.Certificate) -> bytes:
    """Return key, certificate and chain as one text."""
    key = pair.key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    certificates = (pair.certificate, *chain)
    return key + b"".join(one.public_bytes(serialization.Encoding.PEM) for one in certificates)


def from_pem(text: bytes) -> Pair:
    """Read key and first certificate.

    Raises:
        ValueError: They are not there, damaged, or do not belong together.
    """
    key = serialization.load_pem_private_key(text, None)
    certificate = x509.load_pem_x509_certificate(text)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("not a key of ours")
    if key.public_key() != certificate.public_key():
        raise ValueError("key and certificate do not belong together")
    return Pair(key, certificate)


def public_pem(pair: Pair) -> bytes:
    """Return the certificate alone."""
    return pair.certificate.public_bytes(serialization.Encoding.PEM)


def fingerprint_of(pair: Pair) -> str:
    """Return the SHA-256 of the certificate as devices show it: pairs of digits and colons."""
    return pair.certificate.fingerprint(hashes.SHA256()).hex(":").upper()


def _name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Hearthside"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _general_names(subjects: Subjects) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in subjects.names]
    return names + [x509.IPAddress(address) for address in subjects.addresses]


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    now: datetime,
    life: timedelta,
) -> x509.CertificateBuilder:
    begin = now - CLOCKS_DIFFER
    return (
        x509.CertificateBuilder(subject_name=subject, issuer_name=issuer, public_key=key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
