"""What a project is called: ``tenant/project``, each a name that is safe in a subject, a key and a folder."""

from __future__ import annotations

import re
from dataclasses import dataclass

from nervous_system.errors import ContractError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True, order=True)
class ProjectName:
    """A project within its tenant."""

    tenant: str
    project: str

    def __str__(self) -> str:
        return f"{self.tenant}/{self.project}"

    @classmethod
    def parse(cls, text: str) -> ProjectName:
        """Reads ``tenant/project``; raises ContractError where it is anything else."""
        tenant, slash, project = text.partition("/")
        if not slash or not (_NAME.fullmatch(tenant) and _NAME.fullmatch(project)):
            raise ContractError(
                f"{text!r} is not a project: write tenant/project, each of letters, digits, '-' and '_', "
                "1 to 64 characters, beginning with a letter or digit."
            )
        return cls(tenant, project)
