"""Other Python stream processors on the engine's events, each in an environment of its own."""
