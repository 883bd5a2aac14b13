"""Backtests: the log read and indexed, and its partitions replayed on processes."""
