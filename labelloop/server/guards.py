"""What a request must look like to be answered: from this machine's own page, small, and JSON when it changes anything.

Streamlit guards its own websocket, not the routes mounted beside it. Any page open in the person's browser can reach
127.0.0.1, so the Host is checked (DNS rebinding), and a POST needs our Origin, JSON and a header that no plain form can
set (cross-site requests).
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PREFIX = "/ll/"  # our own routes; everything else is Streamlit's
LARGEST_BODY = 1_000_000  # bytes: 5,000 answers with room to spare
LOOPBACK = ("127.0.0.1", "localhost", "::1")
# The page may load and reach nothing but this server, whatever a library tries.
CONTENT_SECURITY_POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; connect-src 'self' data: blob: ws: wss:; frame-ancestors 'none'"
)


def guards(allowed_hosts: Sequence[str]) -> list[Middleware]:
    """The middleware for our app, outermost first."""
    return [
        Middleware(TrustedHostMiddleware, allowed_hosts=list(allowed_hosts), www_redirect=False),
        Middleware(SafeHeaders),
        Middleware(OwnRequestsOnly),
    ]


def hosts_for(host: str, more: Sequence[str] = ()) -> list[str]:
    """The Host names to answer to when listening on `host`: this machine's own, and those the person allowed."""
    names = {*LOOPBACK, "[", *more}  # Starlette cuts "[::1]:8501" at its first colon
    if host not in LOOPBACK:
        names |= {socket.gethostname(), socket.getfqdn()}
        if host in ("0.0.0.0", "::"):  # noqa: S104  compared, not bound
            names |= {str(info[4][0]) for info in socket.getaddrinfo(socket.gethostname(), None)}
        else:
            names.add(host)
    return sorted(names)


class SafeHeaders:
    """Adds headers to every answer that keep other sites and guessing browsers out."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-Content-Type-Options"] = "nosniff"
                headers["X-Frame-Options"] = "DENY"
                headers["Referrer-Policy"] = "no-referrer"
                headers["Cross-Origin-Resource-Policy"] = "same-origin"
                headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
            await send(message)

        await self.app(scope, receive, send_with_headers)


class OwnRequestsOnly:
    """Refuses changes on our routes that did not come from our own page."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or refuse it."""
        is_ours = scope["type"] == "http" and scope["path"].startswith(PREFIX)
        if is_ours and scope["method"] not in ("GET", "HEAD"):
            refusal = why_refused(Headers(scope=scope))
            if refusal:
                status, text = refusal
                await JSONResponse({"error": text}, status)(scope, receive, send)
                return
        await self.app(scope, receive, send)


def why_refused(headers: Headers) -> tuple[int, str] | None:
    """The status and reason for refusing a changing request, or None."""
    origin = headers.get("origin")
    if origin is None or urlsplit(origin).netloc != headers.get("host"):
        return 403, f"this request comes from another page ({origin}), not from labelloop"
    if headers.get("content-type", "").split(";")[0].strip() != "application/json":
        return 415, "labelloop expects JSON here"
    if headers.get("x-labelloop") != "1":
        return 403, "the header X-Labelloop is missing"
    length = headers.get("content-length", "")
    if not length.isdigit():
        return 411, "the length of the request is missing"
    if int(length) > LARGEST_BODY:
        return 413, f"the request has {length} bytes, at most {LARGEST_BODY} are taken"
    return None
