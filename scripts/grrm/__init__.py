"""Group relative reward modelling for machine translation: the library behind the workflow's scripts."""

__version__ = "0.2.0"
