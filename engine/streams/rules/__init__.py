"""Published rules: their topic, read and written, and their way into a worker between batches."""
