"""Training data made by a teacher: candidates proposed, ranked and scored; analyses and translations."""
