"""FoundationDB's transaction semantics on one SQLite file, for many threads and processes of one machine."""

from __future__ import annotations

from nervous_system.ledger.embedded.engine import EmbeddedEngine

__all__ = ["EmbeddedEngine"]
