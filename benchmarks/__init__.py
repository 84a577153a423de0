"""Speed and memory, measured beside the raw limits of the machine in the same run: `python -m benchmarks [NAME...]`."""
