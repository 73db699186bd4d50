"""``python -m infrastructure.local.gateway``: runs the gateway until it is told to stop."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import os
import signal
import sys
from pathlib import Path

from aiohttp import web

from infrastructure.local.gateway.engine import Engine
from infrastructure.local.gateway.errors import GatewayError
from infrastructure.local.gateway.requests import Credentials
from infrastructure.local.gateway.server import Gateway
from nervous_system.errors import EnchantedError
from nervous_system.settings import Settings
from nervous_system.telemetry import logs

PASSWORD_VARIABLE = "ENCHANTED_CLICKHOUSE_PASSWORD"
_LOOPBACK = "127.0.0.1"
_FINISH_TIMEOUT_S = 30.0


def main(arguments: list[str] | None = None) -> int:
    """Runs the gateway; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        logs.configure(Settings.load())
        _check_host(options.host)
        credentials = Credentials(options.user, _password(options.password_file))
        engine = Engine(options.data)
        # The engine keeps the format schemas that clients send in the folder it runs in.
        os.chdir(options.data)
        try:
            asyncio.run(_serve(engine, credentials, options.host, options.port))
        finally:
            engine.close()
    except EnchantedError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("infrastructure.local.gateway", description="ClickHouse over HTTP, on loopback.")
    parser.add_argument("--data", type=Path, required=True, help="the engine's folder, made where it is missing")
    parser.add_argument("--host", default=_LOOPBACK, help="a loopback address")
    parser.add_argument("--port", type=int, default=8123)
    parser.add_argument("--user", default="default")
    parser.add_argument("--password-file", type=Path, help=f"a file with the password; else ${PASSWORD_VARIABLE}")
    return parser


def _check_host(host: str) -> None:
    if host != _LOOPBACK:
        raise GatewayError(
            f"The gateway listens on {_LOOPBACK} only, not on {host}: it has one user, and no encryption. For other "
            "machines, run a ClickHouse server."
        )


def _password(file: Path | None) -> str:
    if file is None:
        password = os.environ.get(PASSWORD_VARIABLE, "")
    else:
        try:
            password = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise GatewayError(f"The password file {file} cannot be read: {error}.") from error
    if not password:
        raise GatewayError(f"The gateway needs a password: give --password-file, or set {PASSWORD_VARIABLE}.")
    return password


async def _serve(engine: Engine, credentials: Credentials, host: str, port: int) -> None:
    """Answers until SIGTERM or SIGINT, then lets running requests finish, for _FINISH_TIMEOUT_S seconds at most."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    gateway = Gateway(engine, credentials)
    runner = web.AppRunner(
        gateway.application(),
        access_log=None,
        auto_decompress=False,
        handler_cancellation=True,
        shutdown_timeout=_FINISH_TIMEOUT_S,
        max_line_size=1_000_000,
        max_field_size=1_000_000,
    )
    await runner.setup()
    try:
        await _listen(runner, host, port)
        watching = asyncio.create_task(gateway.watch())
        await stopped.wait()
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
    finally:
        await runner.cleanup()
        await gateway.close()


async def _listen(runner: web.AppRunner, host: str, port: int) -> None:
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise GatewayError(
                f"Port {port} on {host} is taken: stop what listens there, or choose another."
            ) from error
        raise GatewayError(f"Port {port} on {host} cannot be opened: {error.strerror}.") from error


if __name__ == "__main__":
    sys.exit(main())
