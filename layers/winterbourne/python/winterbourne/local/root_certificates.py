"""Lays out certifi's root certificates in a layer, each in a file named by the hash under which OpenSSL looks for it.

So a cold start loads none of them, and a handshake the one or two it needs: loading all takes 15 ms of CPU, as text or
as DER alike, and reading one file 0.1 ms. `openssl rehash` does the same, where there is one.
https://docs.openssl.org/3.0/man3/X509_LOOKUP_hash_dir/#hashed-directory-method
"""

import hashlib
import re
import ssl
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

__all__ = ["lay_out", "subject_hash"]

PEM: Final = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n", re.DOTALL)
VERSION: Final = 0xA0
UTF8: Final = 0x0C
# How a text may be encoded in a name, by its tag: as UTF-8, in a part of ASCII, T.61, UTF-32, UTF-16.
ENCODINGS: Final = {
    UTF8: "utf-8",
    **dict.fromkeys((0x13, 0x16, 0x1A), "ascii"),
    0x14: "latin-1",
    0x1C: "utf-32-be",
    0x1E: "utf-16-be",
}


def lay_out(bundle: Path, folder: Path) -> None:
    """Write each certificate of a PEM file to a new folder."""
    folder.mkdir()
    seen: Counter[str] = Counter()
    for pem in PEM.findall(bundle.read_text("utf-8")):
        name = subject_hash(ssl.PEM_cert_to_DER_cert(pem))
        (folder / f"{name}.{seen[name]}").write_text(pem, "utf-8")
        seen[name] += 1


def subject_hash(certificate: bytes) -> str:
    """OpenSSL's `X509_subject_name_hash` of a certificate in DER."""
    ((_, whole),) = _elements(certificate)
    _, signed = next(_elements(whole))
    _serial, _algorithm, _issuer, _validity, subject, *_ = (each for tag, each in _elements(signed) if tag != VERSION)
    canonical = b"".join(_canonical_part(part) for _, part in _elements(subject))
    return hashlib.sha1(canonical, usedforsecurity=False).digest()[3::-1].hex()


def _canonical_part(part: bytes) -> bytes:
    """One part of a name, with each text as UTF-8, in lower case and with single spaces."""
    attributes = []
    for _, attribute in _elements(part):
        (kind, oid), (tag, value) = _elements(attribute)
        if tag in ENCODINGS:
            tag, value = UTF8, b" ".join(value.decode(ENCODINGS[tag]).encode().lower().split())
        attributes.append(_element(0x30, _element(kind, oid) + _element(tag, value)))
    return _element(0x31, b"".join(sorted(attributes)))


def _elements(der: bytes) -> Iterator[tuple[int, bytes]]:
    """The tag and the content of each element."""
    while der:
        tag, length, start = der[0], der[1], 2
        if length & 0x80:
            start += length & 0x7F
            length = int.from_bytes(der[2:start])
        yield tag, der[start : start + length]
        der = der[start + length :]


def _element(tag: int, content: bytes) -> bytes:
    length = len(content)
    digits = length.to_bytes((length.bit_length() + 7) // 8)
    return bytes([tag, length] if length < 0x80 else [tag, 0x80 | len(digits), *digits]) + content
