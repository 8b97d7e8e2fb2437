"""``python -m flp_agents`` is ``flp``."""

import sys

from flp_agents.cli import main

if __name__ == "__main__":
    sys.exit(main())
