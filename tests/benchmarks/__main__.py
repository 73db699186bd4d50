"""``python -m tests.benchmarks [NAME …]``: measures all, or those named, each against a baseline in the same run."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks import (
    archive,
    capture,
    cold,
    drain,
    history,
    imports,
    landing,
    latency,
    ledger,
    publish,
    rebuild,
    recorder,
    redaction,
    restore,
    scaling,
    size,
    storage,
    together,
    why,
)

BENCHMARKS: dict[str, Callable[[Path], None]] = {
    "publish": publish.run,
    "recorder": recorder.run,
    "drain": drain.run,
    "landing": landing.run,
    "together": together.run,
    "latency": latency.run,
    "scaling": scaling.run,
    "ledger": ledger.run,
    "restore": restore.run,
    "cold": cold.run,
    "history": history.run,
    "size": size.run,
    "storage": storage.run,
    "import": imports.run,
    "why": why.run,
    "redaction": redaction.run,
    "capture": capture.run,
    "archive": archive.run,
    "rebuild": rebuild.run,
}


def main() -> None:
    """Runs each benchmark in a folder of its own, which is removed afterwards."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    names = parser.parse_args().names
    if unknown := sorted(set(names) - set(BENCHMARKS)):
        parser.error(f"there is no benchmark {', '.join(unknown)}: choose from {', '.join(BENCHMARKS)}")
    began_s = time.monotonic()
    for name in names or BENCHMARKS:
        with tempfile.TemporaryDirectory(prefix=f"enchanted-bench-{name}-") as folder:
            BENCHMARKS[name](Path(folder).resolve())
    print(f"\n{time.monotonic() - began_s:.0f} s in all")


if __name__ == "__main__":
    main()
