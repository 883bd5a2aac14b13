"""Explanations: why a customer got something or did not, and what would have to happen."""
