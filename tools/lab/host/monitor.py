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
        answer = self._ask(command, arguments)
        return None if "return" in answer else answer["error"]["desc"]

    def show(self, command) -> str:
        """The text that QEMU has for people who type a command, or the error when it has none."""
        answer = self._ask("human-monitor-command", {"command-line": command})
        return answer["return"] if "return" in answer else answer["error"]["desc"]

    def _ask(self, command, arguments) -> dict:
        """QEMU's answer, with the key `return` or `error`."""
        try:
            self._file.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
            self._file.flush()
            for line in self._file:
                answer = json.loads(line)
                if "error" in answer or "return" in answer:
                    return answer
            why = "QEMU is gone"
        except OSError as error:
            why = f"QEMU does not answer: {error}"
        return {"error": {"desc": why}}
