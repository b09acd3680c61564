"""verl 0.9.1 on a machine without an accelerator, and the parts of the paper that verl has no switch for.

Nothing of verl is edited. `verl/__init__.py` imports the modules named in VERL_USE_EXTERNAL_MODULES in the
driver and in every Ray worker, and `grrm.verl_plugin.register` then announces what the other modules offer.

Environment of the driver (Ray hands it on to the workers), with scripts/ on PYTHONPATH:

    VERL_USE_EXTERNAL_MODULES=grrm.verl_plugin.register
    VERL_PLATFORM=cpu            the platform of `platform.py` (without it verl believes in CUDA)
    VERL_ENGINE_DEVICE=cuda      verl's stock FSDP engine is registered for cuda; it runs on any torch device
    OMP_NUM_THREADS=1            a second thread stalls the worker whenever anything else wants the core
    HF_HUB_OFFLINE=1  RAY_USAGE_STATS_ENABLED=0  RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO=0
    RAY_prestart_worker_first_driver=0   no idle workers at start-up

Overrides (Hydra):

    trainer.device=cpu
    actor_rollout_ref.rollout.name=transformers          likewise reward.reward_model.rollout.name
    actor_rollout_ref.rollout.dtype=float32              likewise for the reward model (default: bfloat16)
    actor_rollout_ref.rollout.tensor_model_parallel_size=1     likewise for the reward model (default: 2)
    actor_rollout_ref.rollout.seed=<int>
    +actor_rollout_ref.model.override_config.attn_implementation=sdpa
    trainer.v1.sampler.custom_sampler.path=pkg://grrm.verl_plugin.sampler
    trainer.v1.sampler.custom_sampler.name=FastPollReplayBuffer

    ray_kwargs.ray_init.num_cpus=8                       logical; every verl actor asks for one
    +ray_kwargs.ray_init.num_gpus=<training workers + reward model replicas>    logical slots, not devices
    +ray_kwargs.ray_init.include_dashboard=False
    +ray_kwargs.ray_init._node_ip_address=127.0.0.1      nothing listens beyond the machine
    +ray_kwargs.ray_init._temp_dir=<short path>    one per run, at most 40 characters (AF_UNIX: 107)

GSPO with the positive-advantage likelihood term (any platform):

    actor_rollout_ref.actor._target_=grrm.verl_plugin.losses.GspoSftActorConfig
    actor_rollout_ref.actor.policy_loss.loss_mode=gspo_sft
    actor_rollout_ref.actor.loss_agg_mode=seq-mean-token-mean
    +actor_rollout_ref.actor.sft_coef=<float >= 0>

Reward model sharing the trainer's devices, judged group by group (any platform):

    trainer.v1.trainer_mode=sync_group_reward, with
    VERL_USE_EXTERNAL_MODULES=grrm.verl_plugin.register,grrm.verl_plugin.colocated
"""
