"""``enchanted otlp``: agents' OpenTelemetry traces, as events."""

from __future__ import annotations

import asyncio
import logging
import signal

import click
from aiohttp import web

from infrastructure.cli.options import PROJECT
from nervous_system.capture.findings import Finding
from nervous_system.capture.keeping import Keeper
from nervous_system.capture.otlp.receiver import MAX_BODY_BYTES, TRACES_PATH, Receiver
from nervous_system.errors import ContractError, EnchantedError, UnavailableError
from nervous_system.projects import ProjectName
from nervous_system.settings import Settings

CLOSING_S = 10.0
# Exporters give up after 10 s by themselves, and send again.
PATIENCE_S = 8.0


class ListenError(EnchantedError):
    """The address cannot be listened on."""


@click.command()
@click.option("--project", type=PROJECT, required=True, help="Where to: tenant/project.")
@click.option(
    "--listen", default="127.0.0.1:4318", show_default=True, metavar="HOST:PORT", help="Port 0: any free one."
)
@click.option("--agent", default="", help="Who did it, where spans do not name an agent; their service.name if absent.")
@click.option("--all-spans", is_flag=True, help="Record spans that are nothing of an agent's too, as tool calls.")
@click.option("--direct", is_flag=True, help="Send events straight to the log, not into this machine's outbox.")
@click.option(
    "--max-body-bytes", type=click.IntRange(min=1), default=MAX_BODY_BYTES, show_default=True, help="Of one request."
)
def otlp(project: ProjectName, *, listen: str, agent: str, all_spans: bool, direct: bool, max_body_bytes: int) -> None:
    """Receive OpenTelemetry traces by OTLP/HTTP, and record what agents did in them.

    Set OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://127.0.0.1:4318/v1/traces where the agent runs. Spans by the
    semantic conventions for generative AI, of OpenTelemetry, OpenInference or OpenLLMetry, become tool calls, messages
    and decisions. A span that comes twice is recorded once. Whoever reaches the address may record: leave it on
    loopback.
    """
    host, _, port = listen.rpartition(":")
    if not port.isdigit() or int(port) > 65_535:
        raise click.BadParameter(f"{listen!r} is not HOST:PORT, such as 127.0.0.1:4318.", param_hint="--listen")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    with Keeper(Settings.load(), project, direct=direct) as keeper:
        receiver = Receiver(
            keep=lambda findings: _keep(keeper, findings),
            agent=agent,
            all_spans=all_spans,
            max_body_bytes=max_body_bytes,
        )
        asyncio.run(_serve(receiver, host.strip("[]") or "127.0.0.1", int(port)))
    click.echo(f"Recorded {keeper.kept_count:,} events in {project}.", err=True)


def _keep(keeper: Keeper, findings: list[Finding]) -> list[str]:
    if not keeper.has_room:
        # Better the exporter waits, which has a time limit of its own, than that its request hangs here.
        raise UnavailableError("The outbox is full until `enchanted sync` has sent what it holds.")
    refusals = []
    for finding in findings:
        try:
            keeper.keep(finding)
        except ContractError as error:
            refusals.append(f"Span {finding.span_id}: {error}")
    keeper.flush(PATIENCE_S)
    return refusals


async def _serve(receiver: Receiver, host: str, port: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    runner = web.AppRunner(receiver.application(), access_log=None, shutdown_timeout=CLOSING_S)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise ListenError(
                f"{host}:{port} cannot be listened on: {error.strerror}. Name another --listen."
            ) from error
        bound = runner.addresses[0]
        click.echo(f"Receiving traces at http://{bound[0]}:{bound[1]}{TRACES_PATH}", err=True)
        await stop.wait()
    finally:
        await runner.cleanup()
