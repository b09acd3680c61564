"""The only place that knows how an engine (LLaMA-Factory, verl) is configured and started."""
