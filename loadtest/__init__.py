"""Open-loop load generator, latency recorder and report: `python -m loadtest`, or `make bench`."""
