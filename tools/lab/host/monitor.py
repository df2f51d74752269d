# SPDX-License-Identifier: GPL-2.0
"""QEMU's monitor, which pulls devices out of a running guest, and puts them back."""

import json

#: Seconds that QEMU may take to answer.
LIMIT_SECONDS = 60


class Monitor:
    """QEMU's machine protocol over a socket, which ends with `stack`."""

    def __init__(self, stack, socket):
        socket.settimeout(LIMIT_SECONDS)
        self._file = stack.enter_context(socket.makefile("rw"))

    def execute(self, command, **arguments) -> str | None:
        """Has QEMU do something; returns the error when it does not."""
        try:
            self._file.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
            self._file.flush()
            for line in self._file:
                answer = json.loads(line)
                if "error" in answer:
                    return answer["error"]["desc"]
                if "return" in answer:
                    return None
        except OSError as error:
            return f"QEMU does not answer: {error}"
        return "QEMU is gone"
