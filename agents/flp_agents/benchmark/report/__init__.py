"""A benchmark's results as tables and as one HTML page."""
