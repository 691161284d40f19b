"""``python -m kalman_em`` is the command ``kalman-em``."""

import sys

from kalman_em.cli import main

if __name__ == "__main__":
    sys.exit(main())
