"""Drives properties by what code they reach, with atheris: `make guided`.

Every target is a property test that runs in CI as well; here its bytes come from a coverage-guided fuzzer instead of
from chance. A failure is printed as Hypothesis prints it, and kept in its database.

    python tests/fuzzing.py TARGET SECONDS
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import atheris

with atheris.instrument_imports(include=["tidenote.core", "tidenote.wire", "tidenote.vault.plan"]):
    from core.test_merge_properties import test_any_texts, test_texts_with_front_matter
    from vault.test_plan_model import test_nothing_is_lost_nothing_is_deleted_by_itself_and_all_come_to_rest
    from wire.test_messages import test_whatever_comes_raises_only_what_is_documented
    from wire.test_session_world import test_whatever_happens_everyone_agrees_in_the_end

TARGETS: dict[str, Any] = {
    "decoder": test_whatever_comes_raises_only_what_is_documented,
    "session": test_whatever_happens_everyone_agrees_in_the_end,
    "planner": test_nothing_is_lost_nothing_is_deleted_by_itself_and_all_come_to_rest,
    "merge": test_any_texts,
    "front-matter": test_texts_with_front_matter,
}


def main() -> None:
    """Fuzz one target for so many seconds."""
    name, seconds = sys.argv[1], sys.argv[2]
    one: Callable[[bytes], object] = TARGETS[name].hypothesis.fuzz_one_input
    atheris.Setup([name, f"-max_total_time={seconds}", "-max_len=8192", "-print_final_stats=1", "-verbosity=0"], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
