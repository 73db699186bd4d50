"""Generates the contract's Python code and type stubs from ``protos/``.

Run as ``python -m nervous_system.generate`` after a change to the contract; ``--check`` only compares.
"""

from __future__ import annotations

import filecmp
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTO = "enchanted/events/v1/events.proto"
GENERATED = ROOT / "nervous_system" / "generated"


def generate(destination: Path) -> None:
    """Writes the generated modules below ``destination``; raises RuntimeError where protoc refuses the contract."""
    import grpc_tools
    from grpc_tools import protoc

    includes = Path(grpc_tools.__file__).parent / "_proto"
    status = protoc.main(  # type: ignore[no-untyped-call]
        [
            "protoc",
            f"-I{ROOT / 'protos'}",
            f"-I{includes}",
            f"--python_out={destination}",
            f"--pyi_out={destination}",
            PROTO,
        ]
    )
    if status != 0:
        raise RuntimeError(f"protoc refused {PROTO} (exit {status}); its message is above.")


def stale_files() -> list[str]:
    """Generated files that differ from what the contract gives today, relative to the generated folder."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        generate(fresh)
        names = sorted(str(path.relative_to(fresh)) for path in fresh.rglob("*.py*"))
        _, mismatched, missing = filecmp.cmpfiles(fresh, GENERATED, names, shallow=False)
        return mismatched + missing


def main(arguments: list[str]) -> int:
    """Command line: generate, or with ``--check`` report stale files and exit 1."""
    if "--check" not in arguments:
        generate(GENERATED)
        return 0
    stale = stale_files()
    for name in stale:
        print(f"{name} is not what protos/ gives: run python -m nervous_system.generate", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
