"""Backtests: rules over a recorded log, what they would have done, and how two rule sets differ in it."""
