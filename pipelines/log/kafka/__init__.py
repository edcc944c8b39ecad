"""The other log: a Kafka topic behind the same port."""
