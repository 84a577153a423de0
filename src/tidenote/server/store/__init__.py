"""Where the log is kept: one contract, an SQL store and an in-memory store."""
