"""The port on which a program serves its metrics, its state of health and pages of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from socket import AF_INET, AF_INET6, IPPROTO_IPV6, IPV6_V6ONLY
from socketserver import TCPServer
from threading import Thread
from urllib.parse import parse_qsl, urlsplit

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from wirecrypt.errors import ConfigError

Page = Callable[[Mapping[str, str]], tuple[int, str, bytes]]  # query → status, content type, body


@dataclass(frozen=True, slots=True)
class Served:
    """An open port; `close` frees it and joins its threads."""

    server: ThreadingHTTPServer
    thread: Thread

    @property
    def port(self) -> int:
        """Return the TCP port, also when 0 was asked for."""
        return self.server.server_port

    def close(self) -> None:
        """Stop serving; requests that are being answered are finished first."""
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def serve(
    port: int,
    address: str,
    registry: CollectorRegistry,
    problem: Callable[[], str] = lambda: "",
    pages: Mapping[str, Page] | None = None,
) -> Served:
    """Serve ``/metrics``, ``/healthz`` and further *pages*, by path, on *address* and TCP *port*; ``::`` is both families.

    ``/healthz`` answers 200 when *problem* gives an empty text, else 503 with it. A page runs in a thread of its own request.
    Raises `ConfigError` when the port cannot be opened.
    """
    all_pages = _usual(registry, problem) | dict(pages or {})

    class Handler(_Handler):
        pages = all_pages

    try:
        server = (_Server6 if ip_address(address).version == 6 else _Server)((address, port), Handler)  # noqa: PLR2004 - IPv6
    except (OSError, OverflowError, ValueError) as error:
        what, hint = f"{address} port {port}", "choose another port for metrics, or stop what has it"
        raise ConfigError("open the port for metrics", what=what, answer=str(error), hint=hint) from error
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="metrics", daemon=True)
    thread.start()
    return Served(server, thread)


def _usual(registry: CollectorRegistry, problem: Callable[[], str]) -> dict[str, Page]:
    return {
        "/metrics": lambda _query: (200, CONTENT_TYPE_LATEST, generate_latest(registry)),
        "/healthz": lambda _query: _health(problem()),
    }


def _health(problem: str) -> tuple[int, str, bytes]:
    return (503 if problem else 200), "text/plain; charset=utf-8", f"{problem or 'ok'}\n".encode()


class _Server(ThreadingHTTPServer):
    address_family = AF_INET
    daemon_threads = False

    def server_bind(self) -> None:
        """Bind without HTTPServer's look-up of the own name, which waits for DNS servers that do not answer."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])


class _Server6(_Server):
    address_family = AF_INET6

    def server_bind(self) -> None:
        """Bind, and take IPv4 as well where the address is that of all."""
        self.socket.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 0)
        super().server_bind()


class _Handler(BaseHTTPRequestHandler):
    """GET of a known page; everything else is refused."""

    pages: Mapping[str, Page]
    server_version, sys_version = "wirecrypt", ""
    timeout = 5.0  # seconds until a silent client is dropped

    def do_GET(self) -> None:
        """Answer one request."""
        asked = urlsplit(self.path)
        page = self.pages.get(asked.path)
        status, kind, body = page(dict(parse_qsl(asked.query))) if page else (404, "text/plain", b"not found\n")
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_parts: object) -> None:
        """Log nothing: requests come every few seconds."""
