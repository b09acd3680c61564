"""Who answers: models behind OpenAI-compatible endpoints; with a cache, limits, counts of what was asked."""
