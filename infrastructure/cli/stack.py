"""The commands that run the embedded stack: ``enchanted up``, ``status`` and ``down``."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from infrastructure.cli.outboxes import OutboxStatus, outbox_statuses
from nervous_system.errors import EnchantedError, SettingsError
from nervous_system.settings import STACK_FILE, Settings, read_env_file

if TYPE_CHECKING:
    from infrastructure.local.status import ComponentStatus, StackStatus

NOT_RUNNING_EXIT_CODE = 3
TABLE_LEAST_WIDTH = 80
COLUMNS = ("component", "address", "health", "pid", "restarts", "lag")

port = click.IntRange(1, 65535)


@click.command()
@click.option("--foreground", is_flag=True, help="Stay in the foreground and log to stderr, as containers want it.")
@click.option("--nats-port", type=port, envvar="ENCHANTED_NATS_PORT", help="Port of NATS, or fail.")
@click.option("--nats-monitor-port", type=port, envvar="ENCHANTED_NATS_MONITOR_PORT", help="Port of its monitor.")
@click.option("--clickhouse-port", type=port, envvar="ENCHANTED_CLICKHOUSE_PORT", help="Port of ClickHouse, or fail.")
@click.option("--s3-port", type=port, envvar="ENCHANTED_S3_PORT", help="Port of S3, or fail.")
@click.option("--only", multiple=True, metavar="COMPONENT", help="Run only this component; can be given repeatedly.")
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(1), default=120.0, show_default=True, help="Seconds to be ready in."
)
def up(foreground: bool, only: tuple[str, ...], timeout_s: float, **ports: int | None) -> None:
    """Start the embedded stack on this machine, or say that it runs already.

    Everything listens on loopback only and keeps its data in $ENCHANTED_HOME (default: ~/.enchanted). The usual ports
    are taken where they are free, else others, which stay the same from then on.
    """
    _require_local_parts()
    from infrastructure.local import stack

    home = _home()
    pinned = {name.removesuffix("_port"): number for name, number in ports.items() if number}
    names = only or None
    if foreground:
        if not stack.run(home, names, pinned=pinned, timeout_s=timeout_s):
            click.echo(f"Enchanted runs already in {home}.")
        return
    started = stack.start(home, names, pinned=pinned, timeout_s=timeout_s, progress=_progress)
    click.echo("Enchanted is running." if started else "Enchanted runs already.")
    _describe(home)
    if missing := stack.missing(home, names):
        click.echo(f"Note: not started with it: {', '.join(missing)}. `enchanted down`, then `enchanted up`.", err=True)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def status(context: click.Context, as_json: bool) -> None:
    """Show how every component is, and what waits in the outboxes of this machine.

    LAG is the number of messages in the stream that a sink has not finished. Exits with 0 when all is healthy, 1 when
    something is not, 3 when the stack is not running.
    """
    outboxes = outbox_statuses(Settings.load())
    if not outboxes:
        _require_local_parts()
    found = _found()
    if as_json:
        waiting = [each.as_json() for each in outboxes]
        stack = {**asdict(found), "healthy": found.healthy} if found else {"running": False}
        click.echo(json.dumps({**stack, "outboxes": waiting}, default=str, indent=2))
    else:
        _show_all(found, outboxes)
    context.exit(NOT_RUNNING_EXIT_CODE if not (found and found.running) else 0 if found.healthy else 1)


def _found() -> StackStatus | None:
    """How the stack is; None where it is not installed, as on a machine that only records."""
    if _missing_local_parts():
        return None
    from infrastructure.local.status import stack_status

    return stack_status(_home())


def _show_all(found: StackStatus | None, outboxes: list[OutboxStatus]) -> None:
    if found is not None and found.components:
        _show(found)
    if found is not None and not found.running:
        click.echo(_absence(found))
    if outboxes:
        click.echo("Outboxes of this machine:")
    for each in outboxes:
        click.echo(f"  {each.sentence()}")


@click.command()
def down() -> None:
    """Stop the embedded stack; its data stays."""
    _require_local_parts()
    from infrastructure.local import stack

    click.echo("Enchanted is stopped." if stack.stop(_home()) else "Enchanted is not running.")


def _home() -> Path:
    return Settings.load().home


def _progress(name: str) -> None:
    if sys.stderr.isatty():
        click.echo(f"{name} is running", err=True)


def _describe(home: Path) -> None:
    from infrastructure.local.status import stack_status

    found = stack_status(home)
    for entry in found.components:
        click.echo(f"  {entry.component:<18}{entry.address or entry.health.value}")
    click.echo(f"Data and logs are in {found.home}; its stack.env has the addresses and keys, which every")
    click.echo("enchanted command reads by itself. Next: `enchanted status`; to stop: `enchanted down`.")
    _warn_of_overrides(home)


def _warn_of_overrides(home: Path) -> None:
    own = read_env_file(home / STACK_FILE)
    others = [name for name, value in own.items() if os.environ.get(name, value) != value]
    if others:
        click.echo(
            f"Note: commands follow {', '.join(others)} in the environment, which leads elsewhere; the stack's own "
            "workers do not.",
            err=True,
        )


def _show(found: StackStatus) -> None:
    rows = [_row(entry) for entry in found.components]
    if sys.stdout.isatty() and shutil.get_terminal_size().columns >= TABLE_LEAST_WIDTH:
        _show_table(rows)
        return
    widths = [max(len(row[index]) for row in [COLUMNS, *rows]) for index in range(len(COLUMNS))]
    for row in [COLUMNS, *rows]:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _show_table(rows: list[tuple[str, ...]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in COLUMNS:
        # An address is there to be copied, so it is health, which is words, that gives way on a narrow terminal.
        table.add_column(heading, no_wrap=heading != "health", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row), style=None if row[2] == "running" else "yellow")
    Console().print(table)


def _row(entry: ComponentStatus) -> tuple[str, ...]:
    health = f"{entry.health}: {entry.reason}" if entry.reason else entry.health.value
    numbers = (entry.pid, entry.restarts, entry.lag)
    return (entry.component, entry.address or "-", health, *("-" if cell is None else str(cell) for cell in numbers))


def _absence(found: StackStatus) -> str:
    if found.orphaned:
        return "The supervisor was killed, and what it started is left: run `enchanted down`, or `enchanted up` again."
    return f"Enchanted is not running in {found.home}: start it with `enchanted up`."


def _missing_local_parts() -> list[str]:
    return [name for name in ("psutil", "botocore") if importlib.util.find_spec(name) is None]


def _require_local_parts() -> None:
    if _missing_local_parts():
        raise SettingsError("The embedded stack is not installed: run `pip install 'enchanted-swarm[local]'`.")


def main() -> None:
    """The three commands alone."""
    group = click.Group("enchanted-stack", commands=[up, status, down])
    try:
        group()
    except EnchantedError as error:
        click.echo(str(error), err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
