"""How good the churn model would have been on a log, beside other models on the same rows."""
