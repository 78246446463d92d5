"""The app as an ASGI application: Streamlit's pages, and our own routes beside them.

    labelloop app PROJECT       serve() below: our own socket, the fast way
    streamlit run app.py        the same pages and routes; the project comes from LABELLOOP_PROJECT or the Start page

The key-press path never touches a Streamlit rerun: the labeling component talks to routes.py.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import webbrowser
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from labelloop.errors import BadInput
from labelloop.server import desk
from labelloop.server.guards import LOOPBACK, guards, hosts_for
from labelloop.server.routes import routes

PROJECT_VARIABLE = "LABELLOOP_PROJECT"  # the project the pages open first
MAIN = Path(__file__).parent.parent / "ui" / "main.py"


def build_app(allowed_hosts: Sequence[str] | None = None) -> Any:
    """The Streamlit app with our routes and guards (`streamlit.starlette.App`)."""
    from streamlit.starlette import App

    return App(MAIN, **parts(allowed_hosts))


def parts(allowed_hosts: Sequence[str] | None = None) -> dict[str, Any]:
    """What makes a plain Streamlit app ours: the arguments of `App` beside MAIN."""
    return {
        "routes": routes(),
        "middleware": guards(allowed_hosts or hosts_for("127.0.0.1")),
        "lifespan": _lifespan,
    }


@asynccontextmanager
async def _lifespan(_app: Any) -> AsyncIterator[None]:
    yield
    desk.close_all()


def serve(
    project: Path | None, *, host: str = "127.0.0.1", port: int = 8501, browser: bool = True, allow: Sequence[str] = ()
) -> None:
    """Serve the app until Ctrl-C. Raises BadInput when the port is taken."""
    import uvicorn

    if project is not None:
        os.environ[PROJECT_VARIABLE] = str(Path(project).resolve())
        desk.open_project(project)
    listening = listen(host, port)
    shown = "localhost" if host in LOOPBACK else host
    address = f"http://{shown}:{listening.getsockname()[1]}"
    print(f"labelloop is at {address}   (Ctrl-C ends it; every answer is already saved)", flush=True)
    if browser:
        threading.Timer(1.0, webbrowser.open, [address]).start()
    config = uvicorn.Config(build_app(hosts_for(host, allow)), log_level="warning", access_log=False, ws_max_size=2**24)
    uvicorn.Server(config).run(sockets=[listening])


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Made with IPPROTO_TCP: asyncio sets TCP_NODELAY on no other, and without it every answer
    to the page takes 40 ms longer."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    if sys.platform == "win32":  # where SO_REUSEADDR lets two apps listen at one port, and either get the answers
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
    else:  # one that has just ended keeps the port for a minute
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise BadInput(f"cannot listen on {host}:{port} ({error.strerror}). Choose another with --port") from error
    listening.listen(128)
    return listening
