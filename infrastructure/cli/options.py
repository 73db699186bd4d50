"""What several commands take."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from nervous_system.errors import ContractError, SettingsError
from nervous_system.ledger.ledger import Ledger
from nervous_system.outbox.opening import outbox_path
from nervous_system.projects import ProjectName
from nervous_system.settings import Settings
from replay import moments
from replay.merging import Policy


class ProjectType(click.ParamType[ProjectName]):
    """A project as ``tenant/project``."""

    name = "project"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> ProjectName:
        """Reads the name; a wrong one is a usage error."""
        try:
            return value if isinstance(value, ProjectName) else ProjectName.parse(str(value))
        except ContractError as error:
            self.fail(str(error), param, ctx)


PROJECT = ProjectType()

at_option = click.option("--at", "moment_text", default="now", metavar="MOMENT", help=f"The moment: {moments.HELP}.")
known_at_option = click.option("--known-at", metavar="TIME", help="Only what the log had by then.")
conflict_option = click.option(
    "--on-conflict",
    type=click.Choice([policy.value for policy in Policy]),
    default=Policy.FAIL.value,
    show_default=True,
    help="Where two changes of one file cannot be merged: refuse, keep the first, take the second, or show both.",
)


_OUTBOX = "infrastructure.cli.outbox"
_THIS_MACHINES = ""


def _remember_outbox(context: click.Context, _: click.Parameter, value: str | None) -> None:
    context.meta[_OUTBOX] = value


outbox_option = click.option(
    "--outbox",
    is_flag=False,
    flag_value=_THIS_MACHINES,
    metavar="[FILE]",
    expose_value=False,
    callback=_remember_outbox,
    help="Without any hub: from the outbox FILE, or where none is named (then put it last) this machine's.",
)


def chosen_outbox() -> str | None:
    """What was given to ``--outbox``: a file, or nothing for this machine's; None where it was left out."""
    context = click.get_current_context(silent=True)
    return None if context is None else context.meta.get(_OUTBOX)


@contextmanager
def opened_ledger(project: ProjectName | None = None) -> Iterator[Ledger]:
    """The ledger of the settings, closed at the end; one of an outbox's where the command was told so.

    Args:
        project: whose outbox may stand in for the ledger.
    """
    settings = Settings.load()
    outbox = chosen_outbox()
    if outbox is not None and project is not None:
        from infrastructure.cli.offline import outbox_ledger

        with outbox_ledger(Path(outbox) if outbox else outbox_path(settings, project), project) as ledger:
            yield ledger
        return
    try:
        ledger = Ledger.open(settings, create=False)
    except SettingsError as error:
        if project is None or not outbox_path(settings, project).exists():
            raise
        raise SettingsError(f"{error} Or add --outbox to read what was recorded on this machine.") from error
    try:
        yield ledger
    finally:
        ledger.close()
