"""Names in the log: subjects, the stream's partitioning, consumers.

Agents publish to ``swarm.{tenant}.{project}.events`` and know nothing of partitions. The stream puts the partition
before it, computed from tenant and project, so that one project's messages stay in one partition and in order.
"""

from __future__ import annotations

from dataclasses import dataclass

from nervous_system.errors import ContractError
from nervous_system.projects import ProjectName

EVENTS = "events"
BLOBS = "blobs"
PUBLISHED = "swarm.*.*.*"
DEAD_LETTER_STREAM = "SWARM_DEAD"
DEAD_LETTER_SUBJECTS = "dead.>"

# Headers of a message that carries one part of a large content.
PART_HASH_HEADER = "Enchanted-Part-Hash"


@dataclass(frozen=True, slots=True)
class StoredSubject:
    """A subject as the stream keeps it."""

    partition: int
    project: ProjectName
    kind: str

    @classmethod
    def parse(cls, subject: str) -> StoredSubject:
        """Reads ``swarm.{partition}.{tenant}.{project}.{kind}``; raises ContractError for anything else."""
        parts = subject.split(".")
        if len(parts) != 5 or parts[0] != "swarm" or not parts[1].isdecimal():
            raise ContractError(f"{subject!r} is not a subject of the swarm.")
        return cls(int(parts[1]), ProjectName.parse(f"{parts[2]}/{parts[3]}"), parts[4])


def published(project: ProjectName, kind: str) -> str:
    """Where a producer publishes messages of ``kind`` (EVENTS or BLOBS)."""
    return f"swarm.{project.tenant}.{project.project}.{kind}"


def stored(project: ProjectName, kind: str, partition: int) -> str:
    """What the stream makes of ``published``, were the project in that partition."""
    return f"swarm.{partition}.{project.tenant}.{project.project}.{kind}"


def anywhere(project: ProjectName, kind: str) -> str:
    """A filter for ``stored`` in whichever partition."""
    return f"swarm.*.{project.tenant}.{project.project}.{kind}"


def partitioning(partitions: int) -> str:
    """The destination of the stream's subject transform, in NATS's mapping language."""
    return f"swarm.{{{{partition({partitions},1,2)}}}}.{{{{wildcard(1)}}}}.{{{{wildcard(2)}}}}.{{{{wildcard(3)}}}}"


def partition_filter(partition: int) -> str:
    """What a worker of ``partition`` subscribes to."""
    return f"swarm.{partition}.>"


def consumer(sink: str, partition: int) -> str:
    """The durable consumer that one sink's worker reads one partition through."""
    return f"{sink}-p{partition}"


def dead_letter(sink: str, partition: int) -> str:
    """Where a sink's worker puts what it cannot land."""
    return f"dead.{sink}.{partition}"
