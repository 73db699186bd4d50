"""Brings what agents recorded on this machine from its outboxes to the log, or straight into a ledger."""
