"""Root certificates in a layer: OpenSSL finds each by its hash, and trusts nothing else."""

import contextlib
import datetime as dt
import ssl
from pathlib import Path

import certifi
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.name import _ASN1Type
from hypothesis import given, settings
from hypothesis import strategies as st

from winterbourne.local.root_certificates import lay_out

NOW = dt.datetime.now(tz=dt.UTC)
DAY = dt.timedelta(days=1)
KEY = ec.generate_private_key(ec.SECP256R1())
KINDS = [_ASN1Type.UTF8String, _ASN1Type.BMPString, _ASN1Type.PrintableString, _ASN1Type.T61String]
LETTERS = {
    _ASN1Type.UTF8String: "aB Éß\N{WATER WAVE}\t",
    _ASN1Type.BMPString: "aB Éß",
    _ASN1Type.PrintableString: "aB ",
    _ASN1Type.T61String: "aB ",
}


@st.composite
def names(draw: st.DrawFn) -> x509.Name:
    """A name of several parts, some of them of several attributes, in any encoding."""
    oids = st.sampled_from([x509.NameOID.COMMON_NAME, x509.NameOID.ORGANIZATION_NAME, x509.NameOID.LOCALITY_NAME])

    def attribute(oid: x509.ObjectIdentifier) -> "x509.NameAttribute[str]":
        kind = draw(st.sampled_from(KINDS))
        return x509.NameAttribute(oid, draw(st.text(LETTERS[kind], min_size=1, max_size=64)), kind)

    parts = draw(st.lists(st.lists(oids, min_size=1, max_size=3, unique=True), min_size=1, max_size=3))
    return x509.Name(x509.RelativeDistinguishedName(list(map(attribute, part))) for part in parts)


def root(name: x509.Name) -> x509.Certificate:
    builder = x509.CertificateBuilder(name, name, KEY.public_key(), 1, NOW - DAY, NOW + DAY)
    return builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).sign(KEY, SHA256())


def server(issuer: x509.Name) -> str:
    """A certificate of `localhost` with its key."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    builder = x509.CertificateBuilder(issuer, name, KEY.public_key(), 2, NOW - DAY, NOW + DAY)
    leaf = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    key = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return (key + leaf.sign(KEY, SHA256()).public_bytes(Encoding.PEM)).decode()


def shake_hands(roots: Path, chain: Path) -> None:
    """A handshake in memory, whose client trusts what is in the folder."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.load_verify_locations(capath=roots)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        client.wrap_bio(back, there, server_hostname="localhost"),
        context.wrap_bio(there, back, server_side=True),
    ]
    for _ in range(3):
        for side in sides:
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()


@given(name=names())
@settings(max_examples=40)
def test_a_server_whose_chain_leads_to_one_of_them_is_trusted(
    name: x509.Name, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("roots")
    bundle, chain = folder / "bundle.pem", folder / "chain.pem"
    pem = root(name).public_bytes(Encoding.PEM).decode()
    bundle.write_text(f"# A comment\n{pem}")
    chain.write_text(server(name))
    lay_out(bundle, folder / "laid")
    shake_hands(folder / "laid", chain)


def test_any_other_is_not(tmp_path: Path) -> None:
    lay_out(Path(certifi.where()), tmp_path / "laid")
    (tmp_path / "chain.pem").write_text(server(x509.Name([])))
    with pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer certificate"):
        shake_hands(tmp_path / "laid", tmp_path / "chain.pem")


def test_none_of_certifis_is_missing_and_those_of_one_name_are_counted(tmp_path: Path) -> None:
    bundle, name = tmp_path / "bundle.pem", x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Twice")])
    twice = [root(name).public_bytes(Encoding.PEM).decode() for _ in range(2)]
    bundle.write_text("".join([Path(certifi.where()).read_text(), *twice]))
    lay_out(bundle, tmp_path / "laid")
    laid = list((tmp_path / "laid").iterdir())
    assert len(laid) == bundle.read_text().count("BEGIN CERTIFICATE")
    assert {path.suffix for path in laid} == {".0", ".1"}
    assert {"ce5e74ef.0", "4042bcee.0"} <= {path.name for path in laid}, (
        "Amazon's and ISRG's, as openssl rehash has them"
    )
