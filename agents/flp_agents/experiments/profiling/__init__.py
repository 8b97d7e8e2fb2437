"""What the meta-gradient costs: ``flp bench``."""
