"""What a flow's processes run: ``python -IS runner.py LIBRARY DESCRIPTOR``.

A script by itself, which imports nothing of nettax's, so that it starts quickly.
"""

import ctypes
import os
import sys

if __name__ == "__main__":
    run = ctypes.CDLL(sys.argv[1], use_errno=True).nettax_flow_run
    if run(int(sys.argv[2])) < 0:
        sys.exit(os.strerror(ctypes.get_errno()))
