"""Parts of large contents: whether the archive has them, each read back once a round and hashed."""

from __future__ import annotations

import hashlib

from nervous_system.archive.errors import ArchiveDamagedError
from nervous_system.archive.layout import blob_key
from nervous_system.archive.objects import ObjectStore
from nervous_system.errors import NotFoundError


class Parts:
    """Remembers what it found."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._known: dict[tuple[str, bytes], bool] = {}

    def has(self, tenant: str, digest: bytes) -> bool:
        """Whether the archive has a tenant's part of this SHA-256; raises ArchiveDamagedError where it is another."""
        if (tenant, digest) not in self._known:
            self._known[tenant, digest] = self._is_there(tenant, digest)
        return self._known[tenant, digest]

    def _is_there(self, tenant: str, digest: bytes) -> bool:
        key = blob_key(tenant, digest)
        try:
            data = self._store.get(key)
        except NotFoundError:
            return False
        if hashlib.sha256(data).digest() != digest:
            raise ArchiveDamagedError(f"the object {key} is not the content of its name")
        return True
