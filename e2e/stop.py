"""Runs a command, sends it a signal as soon as it has written a line, and prints the kinds of lines it wrote and how it ended.

stop.py SIGNAL COMMAND...
"""
import signal
import subprocess
import sys
import threading

kind, *command = sys.argv[1:]
child = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
limit = threading.Timer(30, child.kill)
limit.start()
first = child.stdout.readline()
child.send_signal(getattr(signal, "SIG" + kind))
rest = child.stdout.read()
status = child.wait()
limit.cancel()
for line in sorted({first, *rest.splitlines(keepends=True)}):
    print(line.decode(errors="replace"), end="")
print(f"exit code {status}")
