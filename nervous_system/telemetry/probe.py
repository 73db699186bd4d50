"""Asks a service how it is, and exits with 0 where it is well: ``python -m nervous_system.telemetry.probe [URL]``.

For health checks of containers, whose image has no curl. Without an address it asks /readyz of the service that
``ENCHANTED_METRICS_ADDRESS`` names; of one that has no such page any answer will do but a failure of its own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

PATIENCE_S = 4.0
ANYWHERE = ("", "0.0.0.0", "::")


def main() -> None:
    """Exits with 0 or 1, and says on stdout what was answered."""
    address = url(sys.argv[1:], os.environ)
    if not address:
        sys.exit("Neither an address nor ENCHANTED_METRICS_ADDRESS is given.")
    status, words = asked(address)
    sys.stdout.write(f"{words}\n")
    sys.exit(0 if 0 < status < 500 else 1)


def url(arguments: Sequence[str], environment: Mapping[str, str]) -> str:
    """What to ask; empty where nothing says it."""
    if arguments:
        return arguments[0]
    listened = urlsplit(f"//{environment.get('ENCHANTED_METRICS_ADDRESS', '')}")
    host = "127.0.0.1" if (listened.hostname or "") in ANYWHERE else listened.hostname
    return f"http://{host}:{listened.port}/readyz" if listened.port else ""


def asked(address: str) -> tuple[int, str]:
    """The HTTP status and the first words of the answer; status 0 where there is none."""
    parts = urlsplit(address)
    # Not by urllib, which would go through a proxy.
    connection = HTTPConnection(parts.hostname or "127.0.0.1", parts.port, timeout=PATIENCE_S)
    try:
        connection.request("GET", parts.path or "/")
        answer = connection.getresponse()
        return answer.status, answer.read(500).decode(errors="replace").strip()
    except (OSError, HTTPException) as error:
        return 0, f"{address} does not answer: {error}"
    finally:
        connection.close()


if __name__ == "__main__":
    main()
