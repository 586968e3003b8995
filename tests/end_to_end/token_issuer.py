"""An OAuth issuer for tests of clients that find one by themselves: it registers whoever asks and trusts everybody."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qsl

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from winterbourne.override import override

__all__ = ["token_issuer"]

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PUBLIC_KEY = {**RSAAlgorithm.to_jwk(KEY.public_key(), as_dict=True), "kid": "k", "alg": "RS256", "use": "sig"}


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        url = f"http://{self.headers['host']}"
        metadata = {
            "issuer": url,
            **{f"{name}_endpoint": f"{url}/{name}" for name in ("authorization", "token", "registration")},
            "response_types_supported": ["code"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["none"],
        }
        answers = {"/.well-known/oauth-authorization-server": metadata, "/keys": {"keys": [PUBLIC_KEY]}}
        self._answer(answers.get(self.path, {}), 200 if self.path in answers else 404)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        if self.path == "/registration":
            self._answer({**json.loads(body), "client_id": "c1"}, 201)
            return
        asked = dict(parse_qsl(body))
        claims = {
            "iss": f"http://{self.headers['host']}",
            "aud": [asked["resource"], "chat"],
            "sub": "ada",
            "scope": "tide",
        }
        token = jwt.encode({**claims, "exp": time.time() + 600}, KEY, algorithm="RS256", headers={"kid": "k"})
        self._answer({"access_token": token, "token_type": "Bearer", "expires_in": 600})

    def _answer(self, value: Any, status: int = 200) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    @override
    def log_message(self, *_: object) -> None: ...


@contextmanager
def token_issuer() -> Iterator[str]:
    """Its URL; `/keys` has its public keys."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
