"""Writes the dashboards that Grafana reads: ``python -m infrastructure.grafana``; ``--check`` only compares."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from infrastructure.grafana import agents, costs, pipeline, restores

FOLDER = Path(__file__).parent / "dashboards"
DASHBOARDS = (pipeline.DASHBOARD, agents.DASHBOARD, costs.DASHBOARD, restores.DASHBOARD)


def texts() -> dict[Path, str]:
    """What each file is to have."""
    return {
        FOLDER / f"{each.uid}.json": json.dumps(each.document(), indent=2, ensure_ascii=False) + "\n"
        for each in DASHBOARDS
    }


def stale() -> list[str]:
    """The files' names that have something else."""
    wanted = texts()
    differing = [path for path, text in wanted.items() if not path.exists() or path.read_text("utf-8") != text]
    return sorted(path.name for path in (*differing, *(set(FOLDER.glob("*.json")) - wanted.keys())))


def main() -> None:
    """Writes the files, or says which of them are not current."""
    if "--check" in sys.argv[1:]:
        if names := stale():
            sys.exit(f"Not current: {', '.join(names)}. Run python -m infrastructure.grafana.")
        return
    for path, text in texts().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
