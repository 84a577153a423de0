"""A connection between a device and the server that counts bytes and can be held up at an exact one."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

from e2e.processes import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

CHUNK_BYTES = 1 << 16
OPEN = 1 << 62


class Gate:
    """Forwards TCP connections to a port of this machine.

    Attributes:
        port: where to connect instead.
    """

    UP, DOWN = "up", "down"

    def __init__(self, target_port: int) -> None:
        self._target = target_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._changed = threading.Condition()
        self._passed = {self.UP: 0, self.DOWN: 0}
        self._allowed = {self.UP: OPEN, self.DOWN: OPEN}
        self._sockets: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def passed(self, way: str) -> int:
        """Return how many bytes went to the server (`UP`) or came from it (`DOWN`), on all connections together."""
        with self._changed:
            return self._passed[way]

    def allow(self, way: str, total_bytes: int = OPEN) -> None:
        """Let bytes pass until there were so many in total; the next ones wait."""
        with self._changed:
            self._allowed[way] = total_bytes
            self._changed.notify_all()

    def wait_until_held(self, way: str) -> None:
        """Wait until as many bytes have passed as may."""
        eventually(lambda: self.passed(way) >= self._allowed[way], f"{self._allowed[way]} bytes pass {way}")

    def close(self) -> None:
        """End everything."""
        with self._changed:
            self._allowed = {self.UP: OPEN, self.DOWN: OPEN}
            self._changed.notify_all()
            ends = [self._listener, *self._sockets]
        for end in ends:
            _end(end)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                device, _ = self._listener.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self._target))
                except OSError:
                    _end(device)
                    continue
                with self._changed:
                    self._sockets |= {device, server}
                for way, source, sink in ((self.UP, device, server), (self.DOWN, server, device)):
                    threading.Thread(target=self._forward, args=(way, source, sink), daemon=True).start()

    def _forward(self, way: str, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._passed[way] < self._allowed[way])
                    room = min(CHUNK_BYTES, self._allowed[way] - self._passed[way])
                if not (data := source.recv(room)):
                    break
                sink.sendall(data)
                with self._changed:
                    self._passed[way] += len(data)
        # A connection that one side has left is over for the other one as well.
        for end in (source, sink):
            _end(end)
        with self._changed:
            self._sockets -= {source, sink}


def _end(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()


@contextlib.contextmanager
def gate(target_port: int) -> Iterator[Gate]:
    """Yield a gate that is closed with the test."""
    made = Gate(target_port)
    try:
        yield made
    finally:
        made.close()
