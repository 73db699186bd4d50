"""All areas at once, each in a thread of its own that is waited for only so long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping

from infrastructure.doctor.findings import Finding, Patient, failure, warning
from nervous_system.errors import EnchantedError

Area = Callable[[Patient], Iterable[Finding]]


def examine(patient: Patient, areas: Mapping[str, Area]) -> list[Finding]:
    """What each area found, in the order of ``areas``; one that does not end in time is a failure by itself."""
    found: dict[str, list[Finding]] = {name: [] for name in areas}
    ended: set[str] = set()

    def run(name: str) -> None:
        try:
            for finding in areas[name](patient):
                found[name].append(finding)
        except EnchantedError as error:
            found[name].append(failure(name, str(error)))
        except ModuleNotFoundError as error:
            words = f"Not examined, for {error.name} is not installed: pip install 'enchanted-swarm[server]'."
            found[name].append(warning(name, words))
        except Exception as error:
            found[name].append(failure(name, f"Could not be examined: {type(error).__name__}: {error}"))
        ended.add(name)

    # Daemons: what hangs in a server's silence must not keep the process.
    threads = {name: threading.Thread(target=run, args=(name,), name=name, daemon=True) for name in areas}
    for thread in threads.values():
        thread.start()
    deadline = time.monotonic() + patient.timeout_s
    for thread in threads.values():
        thread.join(max(deadline - time.monotonic(), 0))
    for name in areas.keys() - ended:
        found[name] = [*found[name], _silent(name, patient.timeout_s)]
    return [finding for name in areas for finding in found[name]]


def _silent(name: str, timeout_s: float) -> Finding:
    return failure(
        name,
        f"Did not answer within {timeout_s:g} s: see whether it hangs (its process, its disk, the network between), or "
        "give it longer with --timeout.",
    )
