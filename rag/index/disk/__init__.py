"""The index folder on a disk: SQLite with checksums, commits, the writer's lock, durable steps."""
