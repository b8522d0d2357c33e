"""The one HTTP server, bounded whatever comes: requests, answers, limits, the listening thread. No page lives here."""

from wirecrypt.http_server.kept_port import KeptPort
from wirecrypt.http_server.limits import Limits
from wirecrypt.http_server.listener import Listener, serve, serve_local
from wirecrypt.http_server.loop_health import LoopHealth, serve_health
from wirecrypt.http_server.messages import (
    TOKEN_HEADER,
    Answerer,
    HttpRequest,
    Reply,
    Response,
    at_once,
    dispatch,
    health,
    refused,
)

__all__ = [
    "TOKEN_HEADER",
    "Answerer",
    "HttpRequest",
    "KeptPort",
    "Limits",
    "Listener",
    "LoopHealth",
    "Reply",
    "Response",
    "at_once",
    "dispatch",
    "health",
    "refused",
    "serve",
    "serve_health",
    "serve_local",
]
