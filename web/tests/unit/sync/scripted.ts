/** A server for tests that says exactly what a test tells it to, over real sockets. */

import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

import { onTestFinished } from "vitest";
import { WebSocketServer, type WebSocket } from "ws";

type Json = Record<string, unknown>;
/** What a socket's client said; `say` sends a message, `end` closes it with a reason. */
export interface Said {
  readonly message: Json;
  /** The connection, counted from 1. */
  readonly connection: number;
  /** What the connection was asked for with. */
  readonly query: URLSearchParams;
  say(message: Json): void;
  end(reason: string): void;
}

/** What the server does: per path of HTTP, and about every message of a socket. */
export interface Script {
  /** Whether sockets are let in; by default they are. */
  accepts?(): boolean;
  onMessage?(said: Said): void;
  /** Return the status and the body of an answer; undefined is a 404 that is not Tidenote's. */
  onRequest?(request: {
    method: string;
    path: string;
    query: URLSearchParams;
    body: string;
  }): [number, Json] | undefined;
}

/** Start a scripted server and return its origin; it ends with the test. */
export async function scripted(script: Script): Promise<string> {
  const server = createServer((request, response) => void answer(script, request, response));
  const sockets = new WebSocketServer({ noServer: true, handleProtocols: () => "tidenote" });
  let connections = 0;
  server.on("upgrade", (request, socket, head) => {
    if (script.accepts?.() === false) {
      socket.destroy();
      return;
    }
    sockets.handleUpgrade(request, socket, head, (client) => {
      converse(script, client, ++connections, new URL(request.url ?? "/", "http://host").searchParams);
    });
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  onTestFinished(() => {
    for (const client of sockets.clients) client.terminate();
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`;
}

function converse(script: Script, client: WebSocket, connection: number, query: URLSearchParams): void {
  client.on("message", (data: Buffer) => {
    script.onMessage?.({
      message: JSON.parse(data.toString()) as Json,
      connection,
      query,
      say: (message) => {
        client.send(JSON.stringify(message));
      },
      end: (reason) => {
        client.close(1013, reason);
      },
    });
  });
}

async function answer(script: Script, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = new URL(request.url ?? "/", "http://host");
  let body = "";
  for await (const data of request) body += String(data);
  const method = request.method ?? "GET";
  const [status, answered] = script.onRequest?.({ method, path: url.pathname, query: url.searchParams, body }) ?? [
    404,
    null,
  ];
  response.writeHead(status, { "Content-Type": "application/json" });
  response.end(answered === null ? "not here" : JSON.stringify(answered));
}

/** Return a `sync_ack` that answers a push. */
export function ack(message: Json, more: Json = {}): Json {
  return { type: "sync_ack", ack_timestamp: 1, changes: [], epoch: "1-x", id: message["id"], ...more };
}
