# SPDX-License-Identifier: GPL-2.0
"""A terminal in memory, for a program that draws a screen: starts the program, sends keys, and keeps the screen.

    with Terminal(["mpath-top"], lines=24, columns=80) as terminal:
        terminal.wait_for("nvme0n1")
        terminal.send("q")
        assert terminal.end() == 0

It understands the codes that curses sends to a terminal of the type `linux`. The kernel has to have pseudo terminals,
or the program to work without. `is_tty=False` connects it to a socket, and says the size in its environment only.
"""

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import socket
import struct
import termios
import time

TYPE = "linux"
#: Seconds that a program may take to show or do something.
PATIENCE = 20
#: Seconds without a word from a program that has drawn all.
QUIET = 0.02
_ESCAPE = re.compile(r"\x1b(?:\[([?>]?)([\d;]*)([@-~])|[()][0-9A-Za-z]|\]R|([=>78MDEcH]))")
_UNFINISHED = re.compile(r"\x1b(?:\[[?>\d;]*|[()]|\])?$")


def _fork_with_a_socket() -> tuple:
    """As pty.fork() does: the child's number, or 0 in the child, and our end."""
    here, there = socket.socketpair()
    process = os.fork()
    if process == 0:
        for number in range(3):
            os.dup2(there.fileno(), number)
    there.close()
    return process, here.detach()


class Terminal:
    def __init__(self, command, lines, columns, patience=PATIENCE, environment=None, is_tty=True):
        self.lines, self.columns = lines, columns
        self._patience = patience
        self._cells = [[" "] * columns for _ in range(lines)]
        self._line = self._column = 0
        self._top, self._bottom = 0, lines - 1
        self._pending = ""
        #: All that the program has sent.
        self.sent = ""
        self.status = None
        names = {**os.environ, "TERM": TYPE, **(environment or {})}
        for name in ("LINES", "COLUMNS"):
            names.pop(name, None)
        self._process, self._file = pty.fork() if is_tty else _fork_with_a_socket()
        if self._process == 0:
            with contextlib.suppress(BaseException):
                # A background process ignores the signal, and the program would inherit that.
                signal.signal(signal.SIGINT, signal.SIG_DFL)
                if is_tty:
                    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
                else:
                    names |= {"LINES": str(lines), "COLUMNS": str(columns)}
                os.execvpe(command[0], command, names)
            os._exit(127)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if self.status is None:
            os.kill(self._process, signal.SIGKILL)
            os.waitpid(self._process, 0)
        os.close(self._file)

    @property
    def text(self) -> str:
        """The text on the screen."""
        return "\n".join("".join(line).rstrip() for line in self._cells)

    def send(self, keys) -> None:
        os.write(self._file, keys.encode())

    def signal(self, number) -> None:
        os.kill(self._process, number)

    def resize(self, lines, columns) -> None:
        """Sets another size, which empties the screen: the program has to draw it again."""
        self.lines, self.columns = lines, columns
        self._cells = [[" "] * columns for _ in range(lines)]
        self._line = self._column = self._top = 0
        self._bottom = lines - 1
        fcntl.ioctl(self._file, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def wait_for(self, what) -> str:
        """Waits until the screen has a text, or a function of the screen's text is true, and the program has drawn all.

        Returns the screen.
        """
        is_there = what if callable(what) else lambda text: what in text
        end = time.monotonic() + self._patience
        while not is_there(self.text) or select.select([self._file], [], [], QUIET)[0]:
            assert time.monotonic() < end, f"{what} is not on the screen in time:\n{self.text}"
            assert self._listen(), f"{what} is not on the screen, and the program has ended:\n{self.text}"
        return self.text

    def end(self) -> int:
        """Waits for the program to end; its exit status, or the number of a signal, negative."""
        end = time.monotonic() + self._patience
        while self._listen():
            assert time.monotonic() < end, f"the program does not end:\n{self.text}"
        _, status = os.waitpid(self._process, 0)
        self.status = os.waitstatus_to_exitcode(status)
        return self.status

    def _listen(self) -> bool:
        """Takes the output of the program, for a moment; False when it has closed the terminal."""
        if not select.select([self._file], [], [], 0.05)[0]:
            return True
        try:
            data = os.read(self._file, 65536)
        except OSError:
            return False
        text = data.decode("utf-8", "replace")
        self.sent += text
        self._take(self._pending + text)
        return bool(data)

    def _take(self, text) -> None:
        self._pending = ""
        if rest := _UNFINISHED.search(text):
            self._pending, text = rest[0], text[:rest.start()]
        at = 0
        while at < len(text):
            match = _ESCAPE.match(text, at)
            if match:
                self._obey(match)
                at = match.end()
                continue
            assert text[at] != "\x1b", f"this terminal does not know {text[at:at + 12]!r}"
            self._type(text[at])
            at += 1

    def _type(self, character) -> None:
        if character == "\r":
            self._column = 0
        elif character == "\n":
            self._go_down()
        elif character == "\b":
            self._column = max(0, self._column - 1)
        elif character == "\t":
            self._column = min(self.columns - 1, self._column // 8 * 8 + 8)
        elif character >= " ":
            if self._column == self.columns:
                self._column = 0
                self._go_down()
            self._cells[self._line][self._column] = character
            self._column += 1

    def _go_down(self) -> None:
        if self._line == self._bottom:
            del self._cells[self._top]
            self._cells.insert(self._bottom, [" "] * self.columns)
        else:
            self._line = min(self.lines - 1, self._line + 1)

    def _obey(self, match) -> None:
        private, digits, order, single = match.groups()
        if single == "M":
            self._insert(self._line == self._top)
        if single or not order or private:
            return
        assert (order, digits) != ("h", "4"), "this terminal does not insert"
        numbers = [int(digit or 0) for digit in digits.split(";")]
        count = max(1, numbers[0])
        moves = {"A": (-count, 0), "B": (count, 0), "C": (0, count), "D": (0, -count)}
        if order in moves:
            self._go(self._line + moves[order][0], self._column + moves[order][1])
        elif order in "Hf":
            self._go(count - 1, (numbers[1] if len(numbers) > 1 else 1) - 1)
        elif order == "G":
            self._go(self._line, count - 1)
        elif order == "d":
            self._go(count - 1, self._column)
        elif order == "r":
            self._top, self._bottom = count - 1, (numbers[1] if len(numbers) > 1 and numbers[1] else self.lines) - 1
            self._go(0, 0)
        elif order in "JKX@PLM":
            self._change(order, numbers[0], count)

    def _go(self, line, column) -> None:
        self._line = max(0, min(self.lines - 1, line))
        self._column = max(0, min(self.columns - 1, column))

    def _insert(self, at_top) -> None:
        if at_top:
            del self._cells[self._bottom]
            self._cells.insert(self._top, [" "] * self.columns)
        else:
            self._line = max(0, self._line - 1)

    def _change(self, order, number, count) -> None:
        line, here, width = self._cells[self._line], min(self._column, self.columns - 1), self.columns
        if order == "J":
            first, last = ((self._line, self.lines), (0, self._line + 1), (0, self.lines))[min(number, 2)]
            for each in range(first, last):
                begin = here if each == self._line and number == 0 else 0
                end = here + 1 if each == self._line and number == 1 else width
                self._cells[each][begin:end] = " " * (end - begin)
        elif order == "K":
            begin, end = ((here, width), (0, here + 1), (0, width))[number]
            line[begin:end] = " " * (end - begin)
        elif order == "X":
            end = min(width, here + count)
            line[here:end] = " " * (end - here)
        elif order == "@":
            line[here:] = ([" "] * count + line[here:])[:width - here]
        elif order == "P":
            line[here:] = (line[here + count:] + [" "] * count)[:width - here]
        else:
            for _ in range(min(count, self._bottom - self._line + 1)):
                gone, new = (self._bottom, self._line) if order == "L" else (self._line, self._bottom)
                del self._cells[gone]
                self._cells.insert(new, [" "] * width)
