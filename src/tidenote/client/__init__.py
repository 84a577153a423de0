"""The client library: journal, link, REST, SyncClient. Never imports the server."""
