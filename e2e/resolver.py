"""A resolver of the test's own, for what cluster DNS hands on: python3 resolver.py ADDRESS LOG

"host.example" has the address 192.0.2.53, "large.example" a hundred of them (over TCP: they do not fit); no other name exists. Every
question is written to LOG.
"""
import socket
import struct
import sys
import threading

address, log = sys.argv[1], sys.argv[2]


def answer(question, tcp):
    labels, at = [], 12
    while question[at]:
        labels.append(question[at + 1:at + 1 + question[at]].decode().lower())
        at += 1 + question[at]
    name, (kind,) = ".".join(labels), struct.unpack(">H", question[at + 1:at + 3])
    with open(log, "a") as out:
        print("tcp" if tcp else "udp", name, kind, file=out)
    known = {"host.example": 1, "large.example": 100}
    code, count = 0 if name in known else 3, known.get(name, 0) if kind == 1 else 0
    truncated = count > 20 and not tcp
    rows = [] if truncated else [struct.pack(">HHHIH4B", 0xC00C, 1, 1, 300, 4, 192, 0, 2, 53 + n) for n in range(count)]
    flags = 0x8180 | (0x0200 if truncated else 0) | code
    return question[:2] + struct.pack(">HHHHH", flags, 1, len(rows), 0, 0) + question[12:at + 5] + b"".join(rows)


def streams():
    listener = socket.create_server((address, 53))
    while True:
        stream, _ = listener.accept()
        with stream:
            (length,) = struct.unpack(">H", stream.recv(2))
            reply = answer(stream.recv(length), True)
            stream.sendall(struct.pack(">H", len(reply)) + reply)


datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagrams.bind((address, 53))
threading.Thread(target=streams, daemon=True).start()
while True:
    packet, client = datagrams.recvfrom(4096)
    datagrams.sendto(answer(packet, False), client)
