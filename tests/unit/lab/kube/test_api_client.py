"""The lab's own client of the API server."""

from __future__ import annotations

import contextlib
import json
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from wirecrypt.errors import ClusterError
from wirecrypt.lab.kube.api_client import LabApi
from wirecrypt.lab.machine.controlplane import TLS_NAME

Answer = tuple[int, dict[str, str], dict[str, object]]
LATER: Answer = (429, {"Retry-After": "1"}, {"message": "storage is (re)initializing"})


@contextlib.contextmanager
def serving(folder: Path, answers: list[Answer]) -> Iterator[LabApi]:
    """Answer request after request with *answers* on loopback, over TLS."""
    key, certificate = folder / "key", folder / "certificate"
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    named = ["-subj", "/CN=lab", "-addext", f"subjectAltName=DNS:{TLS_NAME}", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*made, *named], check=True, capture_output=True)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = answers.pop(0)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_: object) -> None:
            return

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield LabApi(server.server_port, certificate, "nobody")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_server_that_asks_for_it_is_asked_again(tmp_path: Path) -> None:
    """After etcd was restored an API server that says it is ready may still answer 429 for a moment."""
    busy: Answer = (503, {"Retry-After": "1"}, {})
    with serving(tmp_path, answers := [LATER, busy, (200, {}, {"items": [1]})]) as api:
        assert api.items("/things") == [1]
    assert not answers


@pytest.mark.parametrize("status", [429, 500, 503])
def test_any_other_refusal_is_told_at_once(tmp_path: Path, status: int) -> None:
    """Nothing is asked again of whoever did not say so."""
    with (
        serving(tmp_path, [(status, {}, {"message": "no room"})]) as api,
        pytest.raises(ClusterError, match=f"{status} no room"),
    ):
        api.get("/things")
