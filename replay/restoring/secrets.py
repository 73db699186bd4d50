"""Trees with the secrets put back that were taken out when they were recorded: see docs/redaction.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nervous_system.ledger.history import History
from nervous_system.redaction.encodings import placeholders_in
from nervous_system.redaction.vault import Vault, fill
from replay.contents import Contents, ReadAhead
from replay.restoring.knowledge import Knowledge
from replay.tree import EXECUTABLE, FILE, Entry, Tree


def with_secrets(tree: Tree, contents: Contents, kept: Mapping[bytes, bytes]) -> dict[str, Entry]:
    """The tree as its owner had it; what the files of it hold then is added to ``contents``.

    Args:
        tree: as it was recorded.
        contents: give what its hashes name; each is read. Its errors are passed on.
        kept: secrets by their placeholders; one that is not there stays a placeholder.
    """
    hashes = list(dict.fromkeys(entry.content_hash for entry in tree.values() if entry.mode in (FILE, EXECUTABLE)))
    read = ReadAhead(contents, hashes)
    whole = {}
    for content_hash in hashes:
        content = read(content_hash)
        filled, _ = fill(content, kept)
        if filled != content:
            whole[content_hash] = contents.add(filled)
    return {path: Entry(entry.mode, whole.get(entry.content_hash, entry.content_hash)) for path, entry in tree.items()}


class OwnersKnowledge(Knowledge):
    """As Knowledge, and that what stands on the owner's disk with its secrets was recorded without them."""

    def __init__(self, history: History, vault: Vault) -> None:
        super().__init__(history)
        self._recorded: dict[str, list[str]] = {}
        for (held, _), recorded in vault.contents().items():
            self._recorded.setdefault(held, []).append(recorded)

    def knows_contents(self, content_hashes: Sequence[str]) -> list[bool]:
        """For each SHA-256, in hex, whether such a content was recorded, with its secrets or without."""
        asked = [[each, *self._recorded.get(each, ())] for each in content_hashes]
        answers = iter(super().knows_contents([each for group in asked for each in group]))
        # All of a group's answers are taken, whatever the first says.
        return [sum(next(answers) for _ in group) > 0 for group in asked]


class Watched:
    """Contents as they are read, and how many of them hold placeholders."""

    def __init__(self, contents: ReadAhead) -> None:
        self._contents = contents
        self.with_placeholders = 0

    def __call__(self, content_hash: str) -> bytes:
        """The bytes of a hash."""
        content = self._contents(content_hash)
        self.with_placeholders += placeholders_in(content).search(content) is not None
        return content

    def sentence(self) -> str:
        """What to tell about them; empty where there are none."""
        if not self.with_placeholders:
            return ""
        files = "1 file holds" if self.with_placeholders == 1 else f"{self.with_placeholders:,} files hold"
        return (
            f"{files} placeholders: secrets were taken out when this was recorded, and did not leave that machine. "
            "There, its user can put them back with --with-secrets."
        )
