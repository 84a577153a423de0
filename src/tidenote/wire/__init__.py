"""The protocol as types and sans-I/O sessions; pure, and the only place that knows JSON names."""
