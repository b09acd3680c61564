"""Trainings over all machines of a Slurm allocation: Ray for verl, torchrun for LLaMA-Factory."""
