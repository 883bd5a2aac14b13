"""What authors do with rules before and after they are live: fixtures, backtests, summaries, explanations."""
