"""Whether an experiment can run here, found out before anything costs something.

Every module turns what a tool says (scontrol, sbatch --test-only, nvidia-smi, the disk, the hub) into
findings; programs are asked by `probes`, and nothing else here starts a process.
"""
