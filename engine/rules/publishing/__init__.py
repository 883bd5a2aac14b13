"""Publishing: rules as a log of operations, folded into what is live; needed by no run of a journey."""
