"""The summary of an experiment: every number with what it stands on, as JSON and as tables."""

from __future__ import annotations
