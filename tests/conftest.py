"""The files that take longest begin, so that two processes which share a folder end together."""

from __future__ import annotations

import pytest

# Minutes each; pytest-xdist would begin with the files of most tests (--no-loadscope-reorder).
LONGEST = (
    *("test_paper_runs", "test_faults"),
    *("test_same_digits", "test_main_ppo", "test_placement", "test_lora_run"),
    *("test_chain", "test_comet", "test_rewards", "test_real_model", "test_lora", "test_judges"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))
