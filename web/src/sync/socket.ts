/** A WebSocket as a queue: messages wait until they are taken. */

import { actionOf, CODES, TidenoteError } from "./errors";
import type { Signal } from "./signal";

/** How many characters may wait: a browser takes in what the server sends however slowly it is worked off. */
const MAX_WAITING = 64 * 2 ** 20;

/** One open WebSocket. */
export class Socket {
  private readonly queue: string[] = [];
  private waiting = 0;
  private ended: TidenoteError | null = null;

  private constructor(
    private readonly socket: WebSocket,
    private readonly news: Signal,
  ) {
    socket.onmessage = ({ data }) => {
      this.take(data);
    };
    socket.onclose = ({ code, reason }) => {
      this.end(closeError(code, reason));
    };
  }

  /**
   * Open a WebSocket.
   *
   * @param signal - ends the wait.
   * @param news - stirred by every message and by the end.
   * @throws TidenoteError `unreachable`; a browser does not say why.
   */
  static open(url: string, protocols: string[], signal: AbortSignal, news: Signal): Promise<Socket> {
    return new Promise((resolve, reject) => {
      const socket = new WebSocket(url, protocols);
      const failed = (): void => {
        signal.removeEventListener("abort", failed);
        socket.onopen = socket.onclose = null;
        socket.close();
        reject(new TidenoteError("unreachable", "no connection to the server"));
      };
      signal.addEventListener("abort", failed);
      // Without a listener some implementations throw what they have to say.
      socket.onerror = () => undefined;
      socket.onclose = failed;
      socket.onopen = () => {
        signal.removeEventListener("abort", failed);
        resolve(new Socket(socket, news));
      };
      if (signal.aborted) failed();
    });
  }

  /** Bytes that were sent and still wait here. */
  get unsent(): number {
    return this.socket.bufferedAmount;
  }

  /** Why the connection is over, once all messages were taken; null while it is not. */
  get failure(): TidenoteError | null {
    return this.queue.length > 0 ? null : this.ended;
  }

  /** Send a message; into the void if the connection is over: who reads finds out. */
  send(message: string): void {
    if (this.socket.readyState === this.socket.OPEN) this.socket.send(message);
  }

  /** Return the next message, if there is one. */
  next(): string | undefined {
    const message = this.queue.shift();
    this.waiting -= message?.length ?? 0;
    return message;
  }

  /** Close the connection. */
  close(): void {
    this.socket.onmessage = null;
    this.socket.close();
    this.end(new TidenoteError("unreachable", "closed"));
  }

  private take(data: unknown): void {
    if (typeof data !== "string") {
      this.end(new TidenoteError("unreachable", "the server sent bytes instead of text"));
      this.socket.close();
      return;
    }
    this.queue.push(data);
    this.waiting += data.length;
    if (this.waiting > MAX_WAITING) {
      // What waits is still applied; then the connection begins anew from there.
      this.socket.onmessage = null;
      this.end(new TidenoteError("too_slow", "notes come faster than this browser can store them"));
      this.socket.close();
    }
    this.news.stir();
  }

  private end(why: TidenoteError): void {
    this.ended ??= why;
    this.news.stir();
  }
}

/** Return what a close frame says; its reason is a code (docs/protocol.md 2.5). */
function closeError(code: number, reason: string): TidenoteError {
  // Without the message that explains it, only coming back tells whether a code is final.
  if (reason in CODES && actionOf(reason) === "retry") return new TidenoteError(reason, "the server closed");
  return new TidenoteError("unreachable", `the connection was lost (${String(code)})`);
}
