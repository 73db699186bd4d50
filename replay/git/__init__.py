"""The bridge to Git: a repository's history as events."""
