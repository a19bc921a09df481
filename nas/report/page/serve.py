"""A page for a browser on this machine, made anew whenever what it tells has changed."""

import errno
import json
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock

from nas.errors import NasError, RunError
from nas.report.page.content import Moment

__all__ = ["HOST", "Server"]

HOST = "127.0.0.1"
"""Nobody but this machine: a report tells of paths and commands."""


class Server(ThreadingHTTPServer):
    """Serves one page at ``/``, and under ``/state`` the moment that it is of.

    ``look`` gives the moment, ``render`` the page at that moment. ``port``: 0 for any that is free.
    Raises `RunError` for a port that cannot be had.
    """

    daemon_threads = True

    def __init__(
        self, look: Callable[[], Moment], render: Callable[[Moment], str], port: int
    ) -> None:
        self._look, self._render = look, render
        # Two requests at once, a page is made once.
        self._lock = Lock()
        self._page: tuple[str, str] | None = None
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            why = "is taken" if taken else f"cannot be had: {error.strerror}"
            raise RunError(
                f"port {port} of {HOST} {why}. Choose another --port, or 0 for any that is free"
            ) from None

    @property
    def address(self) -> str:
        """Where the page is."""
        return f"http://{HOST}:{self.server_port}/"

    def state(self) -> Moment:
        """What the run has come to. Raises a `NasError` if that cannot be read."""
        with self._lock:
            return self._look()

    def page(self) -> str:
        """The page, as it is now. Raises a `NasError` if that cannot be read."""
        with self._lock:
            now = self._look()
            if self._page is None or self._page[0] != now.stamp:
                self._page = now.stamp, self._render(now)
            return self._page[1]


class _Handler(BaseHTTPRequestHandler):
    """Answers two paths, and none that a foreign page has made a browser ask for."""

    server: Server

    def do_GET(self) -> None:
        """See `http.server`."""
        port = self.server.server_port
        # A name of somebody else's that leads here would let his page read ours.
        if self.headers.get("Host") not in (f"{HOST}:{port}", f"localhost:{port}"):
            self._answer(HTTPStatus.FORBIDDEN, "text/plain", "ask for the address that was told")
            return
        try:
            if self.path == "/":
                self._answer(HTTPStatus.OK, "text/html", self.server.page())
            elif self.path == "/state":
                text = json.dumps(vars(self.server.state()))
                self._answer(HTTPStatus.OK, "application/json", text)
            else:
                self._answer(HTTPStatus.NOT_FOUND, "text/plain", "there is one page, at /")
        except NasError as error:
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, "text/plain", str(error))
        except BrokenPipeError:
            return  # the reader has gone

    def _answer(self, status: HTTPStatus, kind: str, text: str) -> None:
        content = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """A page that asks every two seconds is nothing to tell."""
