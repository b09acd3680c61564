"""Metrics of rankings and translations, with bootstrap intervals."""
