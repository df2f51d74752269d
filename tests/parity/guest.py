# SPDX-License-Identifier: GPL-2.0
"""The guest's side of the comparison: goes through a fixed life and writes its observations down.

    python3 -m tests.parity.guest FILE
"""

import os
import subprocess
import sys
import time

from tests.guest import modules
from tests.parity import fabrics
from tests.parity import parameters
from tests.parity import pcie
from tests.parity import traced_io
from tests.parity.seen import Seen

ACTS = {**fabrics.ACTS, **pcie.ACTS, **parameters.ACTS}


def main(file, wanted) -> int:
    os.sched_setaffinity(0, {traced_io.HOME})
    modules.install()
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with Seen(file) as seen:
        for name in wanted or ACTS:
            begun = time.monotonic()
            seen.during(name)
            ACTS[name](seen)
            print(f"{name}: {time.monotonic() - begun:.1f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
