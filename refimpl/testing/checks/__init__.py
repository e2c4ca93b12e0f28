"""Checks put to an implementation, and the report of what came out."""
