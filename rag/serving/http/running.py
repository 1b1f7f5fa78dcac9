"""Run the server until a signal ends it."""

from __future__ import annotations

import ipaddress
import logging
import socket
from collections.abc import Callable

import uvicorn

from rag.config import Config
from rag.errors import ConfigError
from rag.generation.keys import check_url
from rag.serving.http.access import TOKEN_VARIABLE, load_users
from rag.serving.http.application import make_app
from rag.serving.http.tracing import set_up_traces

_ENDING_SECONDS = 20
_KEEP_ALIVE_SECONDS = 30
_WAITING = 2_048


def serve(config: Config, tell: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; requests that were begun are answered first.

    `tell` is told a line for whoever started it: the address, with a token that was made now.

    Raises:
        ConfigError: if a setting cannot be used, or the port is taken.
    """
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    settings = config.serve
    if bool(settings.certificate) != bool(settings.key):
        raise ConfigError("TLS takes both `serve.certificate` and `serve.key`")
    is_local = _is_loopback(settings.host)
    if not is_local and not settings.certificate:
        tell(
            f"warning: everybody on the way can read what {settings.host} sends without TLS: set "
            "`serve.certificate` and `serve.key`, or put a server before it that speaks TLS"
        )
    if settings.upstream:
        check_url(settings.upstream, plain_http=config.generation.plain_http)
    set_up_traces()
    users, made = load_users(settings.users)
    app = make_app(config, users)
    listening = _listen(settings.host, settings.port)
    host, port = listening.getsockname()[:2]
    scheme = "https" if settings.certificate else "http"
    shown = f"[{host}]" if ":" in host else host
    address = f"{scheme}://{shown}:{port}/"
    if made:
        # After the number sign, which browsers send to nobody.
        tell(f"open {address}#token={made}")
        tell(f"or ask {address}v1 with the key {made} ({TOKEN_VARIABLE} sets one that stays)")
    else:
        tell(f"open {address}")
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            log_level="warning",
            ssl_certfile=settings.certificate or None,
            ssl_keyfile=settings.key or None,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=_ENDING_SECONDS,
            server_header=False,
            proxy_headers=False,
        )
    )
    try:
        server.run([listening])
    except (OSError, KeyboardInterrupt) as error:
        if isinstance(error, OSError):
            raise ConfigError(f"{address}: cannot be served: {error}") from error
    finally:
        listening.close()


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        # Of a socket of another protocol number, asyncio does not know that it may be written to at
        # once: each reply would take 40 ms longer.
        listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        # Whoever opens the address that is told at once waits for the server, and is not refused.
        listening.listen(_WAITING)
    except OSError as error:
        raise ConfigError(
            f"{host}:{port}: cannot be listened at: {error.strerror}: set another `--port`"
        ) from error
    return listening


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
