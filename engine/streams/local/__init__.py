"""A local stack without containers: Kafka and Redis servers that end with the process that wanted them."""
