"""The page where its readers sign in: it is made anew when the issuer says something else of how."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from winterbourne.chat.http.endpoints.page_options import PageOptions
from winterbourne.chat.http.endpoints.static_files import StaticFiles
from winterbourne.chat.http.service import RequestContext

__all__ = ["SignInPage"]


class SignInPage(msgspec.Struct):
    """`options` and `config` are those of the page; `sign_in` asks how to sign in, None if nobody can say so now."""

    options: PageOptions
    config: Callable[[], Mapping[str, Any]]
    sign_in: Callable[[], Awaitable[object]]
    _made: tuple[object, StaticFiles] | None = None

    async def serve(self, context: RequestContext) -> None:
        """Like `StaticFiles.serve`."""
        await self._page(await self.sign_in()).serve(context)

    def _page(self, sign_in: object) -> StaticFiles:
        if not self._made or self._made[0] != sign_in:
            self._made = sign_in, StaticFiles(self.options, lambda: {**self.config(), "signIn": sign_in})
        return self._made[1]
