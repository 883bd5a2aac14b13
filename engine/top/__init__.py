"""`engage top`: what workers do right now, read from their pages `/metrics`, for a terminal."""
