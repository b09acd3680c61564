"""Rewards: what the trainers call. Modules here run in the engines' worker processes and import little."""
