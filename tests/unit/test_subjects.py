"""Subjects: what is stored reads back, and nothing else reads at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nervous_system import subjects
from nervous_system.errors import ContractError
from nervous_system.projects import ProjectName
from nervous_system.subjects import StoredSubject, published, stored

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", fullmatch=True)
projects = st.builds(ProjectName, names, names)
kinds = st.sampled_from([subjects.EVENTS, subjects.BLOBS])


@given(projects, kinds, st.integers(0, 999))
def test_what_is_stored_reads_back(project: ProjectName, kind: str, partition: int) -> None:
    subject = stored(project, kind, partition)
    assert StoredSubject.parse(subject) == StoredSubject(partition, project, kind)
    # The transform only puts the partition in.
    assert subject.split(".")[:1] + subject.split(".")[2:] == published(project, kind).split(".")
    assert subject.startswith(subjects.partition_filter(partition).removesuffix(">"))


@pytest.mark.parametrize(
    "subject",
    [
        "",
        "swarm.0.a.b",
        "swarm.0.a.b.events.x",
        "swarm.x.a.b.events",
        "swarm.-1.a.b.events",
        "other.0.a.b.events",
        "swarm.0..b.events",
        "swarm.0.a/x.b.events",
        "swarm.0._a.b.events",
        "dead.ledger.0",
    ],
)
def test_anything_else_is_refused(subject: str) -> None:
    with pytest.raises(ContractError):
        StoredSubject.parse(subject)


def test_the_transform_is_natss_mapping_of_three_wildcards() -> None:
    assert subjects.partitioning(4) == "swarm.{{partition(4,1,2)}}.{{wildcard(1)}}.{{wildcard(2)}}.{{wildcard(3)}}"
    assert subjects.PUBLISHED.count("*") == 3
