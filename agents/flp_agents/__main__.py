"""``python -m flp_agents`` is ``flp``."""

from flp_agents.cli.main import run

if __name__ == "__main__":
    run()
