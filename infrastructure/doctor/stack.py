"""The embedded stack, where this home has one: whether each of its components is well."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from infrastructure.doctor.findings import Finding, Patient, failure, ok
from infrastructure.local.home import Home
from infrastructure.local.ports import LOOPBACK
from nervous_system.settings import Settings


def monitor_url(settings: Settings) -> str:
    """Where the embedded NATS tells how it is; empty where the settings lead to another."""
    try:
        ports = json.loads(Home.at(settings.home).ports_file.read_text("utf-8"))
        own = settings.nats_url.endswith(f"{LOOPBACK}:{ports['nats']}")
        return f"http://{LOOPBACK}:{ports['nats_monitor']}" if own else ""
    except (OSError, ValueError, KeyError):
        return ""


def look(patient: Patient) -> Iterator[Finding]:
    """Nothing where no embedded stack was ever started in this home."""
    home: Path = patient.settings.home
    if not Home.at(home).state_file.exists():
        return
    from infrastructure.local.state import Phase
    from infrastructure.local.status import stack_status

    found = stack_status(home)
    if not found.running:
        yield failure("stack", f"The embedded stack in {home} does not run: start it with `enchanted up`.")
        return
    ill = [each for each in found.components if each.health is not Phase.RUNNING]
    for each in ill:
        log = Home.at(home).log_file(each.component)
        yield failure(
            f"stack: {each.component}", f"{each.health.value}: {each.reason or 'it says no more'}. See {log}."
        )
    if not ill:
        yield ok("stack", f"All {len(found.components)} components run.")
