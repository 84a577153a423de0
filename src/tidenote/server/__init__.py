"""The server: sockets, REST, hub, stores. Never imports the client."""
