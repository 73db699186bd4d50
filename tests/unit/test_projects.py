"""Project names: safe in a subject, a key and a folder, and nothing else."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nervous_system.errors import ContractError
from nervous_system.projects import ProjectName

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", fullmatch=True)


@given(names, names)
def test_a_name_reads_back(tenant: str, project: str) -> None:
    assert ProjectName.parse(f"{tenant}/{project}") == ProjectName(tenant, project)
    assert str(ProjectName(tenant, project)) == f"{tenant}/{project}"


@given(st.text(max_size=8), st.text(max_size=8))
def test_what_reads_is_safe(tenant: str, project: str) -> None:
    try:
        name = ProjectName.parse(f"{tenant}/{project}")
    except ContractError:
        return
    assert re.fullmatch(rb"[A-Za-z0-9_-]+/[A-Za-z0-9_-]+", str(name).encode())
    assert str(name)[0] not in "_-"


@pytest.mark.parametrize(
    "text",
    ["", "a", "a/", "/b", "a/b/c", "a.b/c", "a/*", "a/>", "../b", "_system/x", "a /b", "a/b\n", "é/b", "a/" + "b" * 65],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ContractError, match="tenant/project"):
        ProjectName.parse(text)
