"""What several commands take."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from nervous_system.errors import ContractError
from nervous_system.ledger.ledger import Ledger
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


@contextmanager
def opened_ledger() -> Iterator[Ledger]:
    """The ledger of the settings, closed at the end."""
    ledger = Ledger.open(Settings.load(), create=False)
    try:
        yield ledger
    finally:
        ledger.close()
