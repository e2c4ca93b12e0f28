"""Error matrices: what training tasks in configurations came to, and their files."""
