"""Many cells: executors that only start the one idempotent cell command."""
