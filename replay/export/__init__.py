"""A project's history in other tools' forms: a Git repository, CloudEvents."""
