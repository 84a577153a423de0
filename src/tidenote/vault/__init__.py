"""A plain folder as a replica: scan, plan, files, watcher, daemon."""
