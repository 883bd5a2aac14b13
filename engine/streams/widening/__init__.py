"""More partitions for the event topics, with the state moved along."""
