"""A training notices that one of its Ray actors is gone."""

from __future__ import annotations

from grrm.verl_plugin.actors import LOOK_EVERY, ActorWatch


def test_an_actor_that_ended_is_named_and_looks_are_far_between() -> None:
    living, looks = {"a", "b"}, 0

    def names() -> set[str]:
        nonlocal looks
        looks += 1
        return living

    watch = ActorWatch(names)
    assert watch.gone(0.0) == []
    living = {"b", "c"}
    assert watch.gone(LOOK_EVERY / 2) == []
    assert looks == 1
    assert watch.gone(LOOK_EVERY) == ["a"]
    living = set()
    assert watch.gone(2 * LOOK_EVERY) == ["a", "b", "c"]
