"""Commands of Slurm as tests of its callers have them."""

SRUN = """#!/bin/sh
while [ "$1" != "--kill-on-bad-exit" ]; do
  [ "$1" = --nodelist ] && node=$2
  shift
done
shift
"""
"""The beginning of an srun: it drops srun's own options, and knows the machine as `$node`."""
