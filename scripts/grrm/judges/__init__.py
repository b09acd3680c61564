"""Large language models as judges: one client for all calls, and ways to turn their answers into scores."""
