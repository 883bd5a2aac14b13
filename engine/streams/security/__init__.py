"""Who may reach Kafka and Redis, how, and what it means when they refuse."""
