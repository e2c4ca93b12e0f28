"""Implementations under test: functions, programs on a pipe, and how they are asked."""
