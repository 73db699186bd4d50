"""Putting a tree into a folder: planned first, checked whole, and taken back where it was not wanted."""
