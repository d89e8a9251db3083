"""``python -m onnxslim``."""

import sys

from onnxslim.cli import main

if __name__ == "__main__":
    sys.exit(main())
