"""Stores of customer state, timers and offsets: the contract, its twin in memory, and Redis."""
