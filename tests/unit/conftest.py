"""Properties are about what is right, not how fast; and no test leaves its environment to the next."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def environment_as_before() -> Iterator[None]:
    """Scripts, which end after their work, set variables of their own process: here that is the tests'."""
    before = dict(os.environ)
    yield
    if os.environ != before:
        os.environ.clear()
        os.environ.update(before)
