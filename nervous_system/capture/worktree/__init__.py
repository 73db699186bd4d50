"""A work tree as it changes, whoever changes it: what stands there is compared with what was recorded."""
