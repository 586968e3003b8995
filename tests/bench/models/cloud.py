"""Stand-ins for what a deployed chat asks: DynamoDB, Secrets Manager and Bedrock, each behind TLS on a port of its own.

`python -m tests.bench.models.cloud FOLDER`, a process of its own, writes its root certificate to FOLDER and prints one
line of JSON: the variables that lead a function there, the ARNs of its secrets, and a caller's key. Each line that it
reads it answers with the numbers of connections since the last one, by service.
"""

import asyncio
import contextlib
import datetime as dt
import json
import logging
import os
import re
import ssl
import sys
from collections import Counter
from pathlib import Path
from typing import Any, Final

import boto3
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from moto.server import ThreadedMotoServer

from tests.chat.stores import TEST_ACCOUNT, template_table
from tests.contract.providers.fake import StrictProvider
from tests.stack import PSEUDO
from tests.upstream import upstream

__all__ = ["KEY", "ROOT_FILE"]

ROOT_FILE: Final = "root.pem"
KEY: Final = "made-up-key-of-first-" + "0aB1cD2eF3gH4iJ5kL6m"
TABLE: Final = "winterbourne-dev-Conversations"
VARIABLES: Final = {
    "dynamodb": "AWS_ENDPOINT_URL_DYNAMODB",
    "secretsmanager": "AWS_ENDPOINT_URL_SECRETS_MANAGER",
    "bedrock": "BEDROCK_BASE_URL",
}


async def serve(folder: Path) -> None:
    """Serve until stdin is closed."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    moto.start()
    _, moto_port = moto.get_host_and_port()
    context = _certified(folder)
    opened: Counter[str] = Counter()
    async with upstream(StrictProvider("bedrock-nova").answer) as bedrock:
        backends = dict.fromkeys(VARIABLES, moto_port) | {"bedrock": int(bedrock.url.rpartition(":")[2])}
        environ = {
            VARIABLES[name]: f"https://localhost:{await _front(name, port, context, opened)}"
            for name, port in backends.items()
        }
        arns = await asyncio.to_thread(_stock, f"http://127.0.0.1:{moto_port}")
        _say({"environ": environ, "resources": {"<Conversations>": TABLE, **arns}})
        while await asyncio.to_thread(sys.stdin.readline):
            _say(opened)
            opened.clear()
    moto.stop()


def _say(what: object) -> None:
    print(json.dumps(what), flush=True)


async def _front(name: str, backend: int, context: ssl.SSLContext, opened: Counter[str]) -> int:
    """Take TLS connections for a backend that has none."""
    relay = _pass_on if name == "bedrock" else _keep_alive

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened[name] += 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):  # the function was ended
            await relay(reader, writer, backend)

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
    port = int(server.sockets[0].getsockname()[1])
    with contextlib.suppress(OSError):  # where `localhost` is this as well, it would be tried in vain
        await asyncio.start_server(connected, "::1", port, ssl=context)
    return port


async def _keep_alive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, backend: int) -> None:
    """moto closes each connection after one answer, AWS does not."""
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        body = await reader.readexactly(int(length[1]) if length else 0)
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", backend)
        inner_writer.write(head + body)
        writer.write((await inner_reader.read()).replace(b"Connection: close\r\n", b"", 1))
        inner_writer.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, backend: int) -> None:
    inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", backend)
    async with asyncio.TaskGroup() as group:
        group.create_task(_pipe(reader, inner_writer))
        group.create_task(_pipe(inner_reader, writer))


async def _pipe(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await source.read(1 << 16):
            target.write(data)
            await target.drain()
    target.close()


def _stock(url: str) -> dict[str, str]:
    """Make what the template makes; the secrets' ARNs, by how the stack refers to them."""
    names = {"region_name": PSEUDO["AWS::Region"], "endpoint_url": url}
    make_client: Any = boto3.client  # the stubs accept only a literal name
    wanted = ("BillingMode", "AttributeDefinitions", "KeySchema", "LocalSecondaryIndexes")
    make_client("dynamodb", **names).create_table(TableName=TABLE, **{name: template_table()[name] for name in wanted})
    create = make_client("secretsmanager", **names).create_secret
    return {
        "<ApiKeys>": create(Name="keys", SecretString=json.dumps({"first": KEY}))["ARN"],
        "<SigningKey>": create(Name="signing", SecretString="made-up-signing-key-" * 2)["ARN"],
    }


def _certified(folder: Path) -> ssl.SSLContext:
    """A server's context for `localhost`, whose root is written to the folder."""
    root_key, key = (rsa.generate_private_key(65537, 2048) for _ in range(2))
    root = _certificate("Root of the bench", root_key, "Root of the bench", root_key)
    leaf = _certificate("localhost", key, "Root of the bench", root_key)
    (folder / ROOT_FILE).write_bytes(root.public_bytes(serialization.Encoding.PEM))
    chain = folder / "leaf.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    chain.write_bytes(secret + leaf.public_bytes(serialization.Encoding.PEM))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(chain)
    return context


def _certificate(name: str, key: rsa.RSAPrivateKey, issuer: str, issuer_key: rsa.RSAPrivateKey) -> x509.Certificate:
    is_root, public = name == issuer, key.public_key()
    named, issued = (x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, each)]) for each in (name, issuer))
    usage = dict.fromkeys(
        ("content_commitment", "data_encipherment", "key_agreement", "encipher_only", "decipher_only"), False
    )
    now = dt.datetime.now(tz=dt.UTC)
    return (
        x509.CertificateBuilder(issued, named, public, x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=9))
        .add_extension(x509.BasicConstraints(ca=is_root, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True, key_encipherment=not is_root, key_cert_sign=is_root, crl_sign=is_root, **usage
            ),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name.replace(" ", "-"))]), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )


if __name__ == "__main__":
    os.environ.update(TEST_ACCOUNT)
    asyncio.run(serve(Path(sys.argv[1])))
