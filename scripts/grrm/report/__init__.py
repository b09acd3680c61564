"""The summary of an experiment and the pieces of its report."""
