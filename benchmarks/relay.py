"""The raw limit of a live delivery: a WebSocket relay with one SQLite commit, and nothing else."""

from __future__ import annotations

import asyncio
import sqlite3
import sys

from websockets.asyncio.server import ServerConnection, serve


async def main(port: int, database: str) -> None:
    """Relay each message to all other connections after it was committed."""
    store = sqlite3.connect(database, isolation_level=None)
    store.execute("PRAGMA journal_mode=WAL")
    store.execute("PRAGMA synchronous=FULL")
    store.execute("CREATE TABLE log (id INTEGER PRIMARY KEY, message TEXT)")
    connections: set[ServerConnection] = set()

    async def handle(connection: ServerConnection) -> None:
        connections.add(connection)
        try:
            async for message in connection:
                store.execute("INSERT INTO log (message) VALUES (?)", (message,))
                for other in connections - {connection}:
                    await other.send(message)
                await connection.send("ok")
        finally:
            connections.discard(connection)

    async with serve(handle, "127.0.0.1", port, compression=None):
        await asyncio.Future()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
