#!/usr/bin/env python3
"""Answers every request with a watch that never ends: ten events a second each. Plain HTTP/1.1 behind
the upstream of the comparison, which speaks TLS and HTTP/2 for it. Prints nothing; a GET of /count
tells how many watches run and how many events were sent, and the most that one had to hold back."""

import asyncio
import json
import sys

EVENTS_PER_SECOND = 10
PHASES = 10  # the watches' events are spread over the tenth of a second
EVENT = (json.dumps({"type": "MODIFIED", "object": {"kind": "Pod", "apiVersion": "v1", "metadata": {
    "name": "web-7c9f8d6b5-x2x4z", "namespace": "default", "resourceVersion": "184467"},
    "status": {"phase": "Running", "podIP": "10.0.0.17", "hostIP": "10.0.0.3"}}}) + "\n").encode()


class Watches:
    def __init__(self):
        self.phases = [set() for _ in range(PHASES)]
        self.begun = 0
        self.events = 0
        self.most_held_bytes = 0

    async def tick(self):
        loop = asyncio.get_running_loop()
        due = loop.time()
        turn = 0
        while True:
            for transport in self.phases[turn % PHASES]:
                transport.write(EVENT)
                self.events += 1
                self.most_held_bytes = max(self.most_held_bytes,
                                           transport.get_write_buffer_size())
            turn += 1
            due += 1 / EVENTS_PER_SECOND / PHASES
            await asyncio.sleep(max(0.0, due - loop.time()))

    def state(self):
        return json.dumps({"watches": sum(map(len, self.phases)), "events": self.events,
                           "most_held_bytes": self.most_held_bytes}).encode()


class Connection(asyncio.Protocol):
    def __init__(self, watches):
        self.watches = watches
        self.phase = None

    def connection_made(self, transport):
        self.transport = transport
        self.received = b""

    def data_received(self, data):
        self.received += data
        if b"\r\n\r\n" not in self.received or self.phase is not None:
            return
        if self.received.startswith(b"GET /count "):
            body = self.watches.state()
            self.transport.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body)
            self.transport.close()
            return
        # No length: the end of the connection ends it.
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                             b"Connection: close\r\n\r\n")
        self.phase = self.watches.phases[self.watches.begun % PHASES]
        self.watches.begun += 1
        self.phase.add(self.transport)

    def connection_lost(self, _error):
        if self.phase is not None:
            self.phase.discard(self.transport)


async def main():
    watches = Watches()
    server = await asyncio.get_running_loop().create_server(lambda: Connection(watches),
                                                            "127.0.0.1", int(sys.argv[1]))
    async with server:
        await watches.tick()


if __name__ == "__main__":
    asyncio.run(main())
