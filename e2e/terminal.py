"""Runs a command on a terminal of 30 lines and 100 columns and prints what it shows and how it ended.

terminal.py [EXPECT SEND]... -- COMMAND...: waits for each text on the screen, then types; `^C` types Ctrl-C, `\\n` enter, `^R` makes the
terminal 20 by 60. The last line says whether the terminal is as it was before. Gives up after 30 s.
"""
import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time

at = sys.argv.index("--")
steps, command = list(zip(sys.argv[1:at:2], sys.argv[2:at:2])), sys.argv[at + 1 :]
master, slave = pty.openpty()


def resize(rows, columns):
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


resize(30, 100)
before = termios.tcgetattr(slave)
child = os.fork()
if child == 0:
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    for fd in (0, 1, 2):
        os.dup2(slave, fd)
    os.execvp(command[0], command)
shown, read_to, end, status = b"", 0, time.monotonic() + 30, None
while True:
    if time.monotonic() > end:
        os.kill(child, signal.SIGKILL)
        print(f"GAVE UP, waiting for {steps[:1]}")
    if select.select([master], [], [], 0.05)[0]:
        shown += os.read(master, 65536)
        continue
    if status is not None:
        break
    if steps and (found := shown.find(steps[0][0].encode(), read_to)) >= 0:
        text, keys = steps.pop(0)
        read_to = found + len(text)
        if keys == "^R":
            resize(20, 60)
        else:
            os.write(master, keys.replace("^C", "\x03").replace("^D", "\x04").replace("\\n", "\r").encode())
    done, code = os.waitpid(child, os.WNOHANG)
    if done:
        status = os.waitstatus_to_exitcode(code)
# How, and how often, a shell draws its line depends on when keys arrive.
text = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", shown.decode(errors="replace"))
text = re.sub(r"(/ # \s*)+", "/ # ", text)
sys.stdout.write(re.sub(r"[\r\n]+", "\n", text).lstrip("\n"))
print(f"\nexit code {status}, terminal {'as before' if termios.tcgetattr(slave) == before else 'CHANGED'}")
