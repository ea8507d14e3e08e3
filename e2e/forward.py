"""Runs `port-forward` and sends bytes through it: prints what came back, what the command said, and how it ended.

forward.py CONNECTIONS BYTES ENDING COMMAND...: CONNECTIONS at the same time, each sends BYTES and must get them back from an echo server.
ENDING is a signal's name, `nothing` when the first connection ends it all, or a command line that ends the forwarding by what it does to
the pod; then one more connection is tried.
"""
import hashlib
import re
import signal
import socket
import subprocess
import sys
import threading

connections, size, ending, *command = sys.argv[1:]
child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
limit = threading.Timer(30, child.kill)
limit.start()
said = [child.stdout.readline()]
port = re.search(r"127.0.0.1:(\d+)", said[0])
rest = threading.Thread(target=lambda: said.extend(child.stdout))
rest.start()
results = []


def send(there, data):
    try:
        there.sendall(data)
        there.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # The other side has gone: what came back tells.


def exchange(number):
    sent = hashlib.shake_256(bytes([number])).digest(int(size))
    with socket.create_connection(("127.0.0.1", int(port[1])), timeout=15) as there:
        sender = threading.Thread(target=send, args=(there, sent))
        sender.start()
        got = bytearray()
        try:
            while data := there.recv(65536):
                got += data
        except ConnectionResetError:
            pass
        sender.join()
    results.append("the same" if got == sent else f"{len(got)} of {len(sent)} bytes")


if port:
    threads = [threading.Thread(target=exchange, args=(n,)) for n in range(int(connections))]
    [t.start() for t in threads]
    [t.join() for t in threads]
    if hasattr(signal, ending):
        child.send_signal(getattr(signal, ending))
    elif ending != "nothing":
        subprocess.run(ending, shell=True, check=True, stdout=subprocess.DEVNULL)
        try:
            with socket.create_connection(("127.0.0.1", int(port[1])), timeout=15) as there:
                there.sendall(b"x")
                print("after it:", there.recv(1) or "closed")
        except ConnectionResetError:
            print("after it: closed")
status = child.wait()
limit.cancel()
rest.join()
for result in sorted(results):
    print(result)
for line in sorted(set(said)):
    print(line.replace(port[1], "PORT") if port else line, end="")
print(f"exit code {status}")
