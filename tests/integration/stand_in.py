"""Stands in for an agent: runs commands of the shell, and after each names the moment and copies the tree.

``python stand_in.py COPIES COMMAND…``: the tree after the first command goes to ``COPIES/step-1``.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path


def main() -> None:
    copies, *commands = sys.argv[1:]
    with socket.socket(socket.AF_UNIX) as recorder:
        recorder.connect(os.environ["ENCHANTED_SOCKET"])
        replies = recorder.makefile("rb")
        for number, command in enumerate(commands, start=1):
            subprocess.run(["bash", "-euc", command], check=True)
            recorder.sendall(json.dumps({"type": "checkpoint", "name": f"step-{number}"}).encode() + b"\n")
            reply = json.loads(replies.readline())
            if not reply["ok"]:
                raise SystemExit(reply["error"])
            target = Path(copies, f"step-{number}")
            shutil.copytree(".", target, symlinks=True, ignore=shutil.ignore_patterns(".git"))


if __name__ == "__main__":
    main()
