"""The archive: what its objects are called, the manifests that say which of them count, and reading them."""
