"""Mutated rule files and events: nothing crashes, nothing hangs, nothing accepted fails at run time."""
