"""chDB as one user of a deployment: ``python -m tests.integration.chdb_as FOLDER USERS_XML USER``, statements on stdin.

chDB asks for no password: it works as the user ``default``, with that one's grants, filters, profile and quota. So the
user is given that name; everything else of the users' file and of the server's configuration is as it is deployed.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from xml.etree import ElementTree

import chdb

CONFIG = Path(__file__).parents[2] / "infrastructure" / "clickhouse" / "config.xml"
# A user of no deployment, who makes the tables.
EVERYTHING = "everything"


def main() -> None:
    folder, users, user = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    connection = chdb.connect(f"{folder}/data?config-file={configured(folder, users, user)}")
    answers = []
    for statement in json.load(sys.stdin):
        try:
            answers.append(connection.query(statement, "TSV").bytes().decode())
        except Exception as error:
            answers.append(f"! {error}")
    json.dump(answers, sys.stdout)


def configured(folder: Path, users: Path, user: str) -> Path:
    """The server's configuration, with its data in ``folder`` and ``user`` as the one who asks."""
    users_file, config = folder / "users.xml", folder / "config.xml"
    users_file.write_text(renamed(users, user))
    text = CONFIG.read_text().replace("/var/lib/clickhouse/", f"{folder}/data/")
    text = text.replace("/etc/enchanted/users.xml", str(users_file))
    config.write_text(text.replace("</clickhouse>", f"<users_config>{users_file}</users_config></clickhouse>"))
    return config


def renamed(users: Path, user: str) -> str:
    """The file with ``user`` as ``default``; or with a ``default`` that may do everything."""
    root = ElementTree.parse(users).getroot()
    section = root.find("users")
    assert section is not None
    if user == EVERYTHING:
        made = "<default><password/><networks><ip>::/0</ip></networks><profile>service</profile>"
        section.append(ElementTree.fromstring(f"{made}<quota>service</quota></default>"))
    else:
        chosen = section.find(user)
        assert chosen is not None, user
        chosen.tag = "default"
        for password in chosen.findall("password_sha256_hex"):
            password.text = hashlib.sha256(b"").hexdigest()
    return ElementTree.tostring(root, encoding="unicode")


if __name__ == "__main__":
    main()
