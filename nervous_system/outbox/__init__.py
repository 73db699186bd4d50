"""The outbox: what agents recorded on this machine, on disk until the log has it, and useful by itself."""
