"""Secrets are taken out of what agents recorded before any of it leaves the recorder: see docs/redaction.md."""
