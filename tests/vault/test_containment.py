"""Keys by the million: each is refused, or names something inside of the folder (D16)."""

from __future__ import annotations

from core.hostile_paths import hostile_paths
from core.test_keys import assert_stays_inside, refusal_of


def test_d16_a_million_random_keys_never_leave_the_folder() -> None:
    accepted = 0
    for path in hostile_paths(1_000_000):
        key = f"note:{path}" if path.endswith(".md") else f"file:{path}"
        if refusal_of(key) is None:
            accepted += 1
            assert_stays_inside(key)
    assert accepted > 1000, "the dice must throw good keys, too"
