"""Run all benchmarks, or those that are named."""

from __future__ import annotations

import importlib
import sys
import tempfile
from pathlib import Path

NAMES = ("live", "folders", "first_sync", "reconnect", "memory", "hostile")


def main() -> None:
    """Run and print one benchmark after the other."""
    chosen = sys.argv[1:] or NAMES
    for name in chosen:
        if name not in NAMES:
            raise SystemExit(f"there is no benchmark {name}: choose from {', '.join(NAMES)}")
        with tempfile.TemporaryDirectory(prefix="tidenote-bench-") as folder:
            print(f"== {name}", flush=True)
            importlib.import_module(f"benchmarks.{name}").run(Path(folder))


main()
