"""``python -m flp_agents`` is ``flp``."""

import os
import sys

from torch import distributed

from flp_agents.cli import main

if __name__ == "__main__":
    code = main()
    if distributed.is_available() and distributed.is_initialized():
        # After an error. An orderly end would wait for processes that are gone, or abort.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
