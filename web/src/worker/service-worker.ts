/**
 * Keeps the app's own files, so that it starts without a network after the first visit. Notes are no business of this
 * worker: they live in IndexedDB, and everything under /api goes to the server or fails.
 *
 * A new version is fetched whole beside the old one and takes over when the page says so.
 */

/** What a worker has that a page has not; the types of both at once cannot be had. */
interface WorkerEvent extends Event {
  readonly request: Request;
  readonly data: unknown;
  waitUntil(work: Promise<unknown>): void;
  respondWith(response: Promise<Response>): void;
}

interface Worker {
  readonly clients: { claim(): Promise<void> };
  skipWaiting(): Promise<void>;
  addEventListener(kind: "install" | "activate" | "fetch" | "message", listener: (event: WorkerEvent) => void): void;
}

/** The build puts the addresses of all files here, and a name that is this version's alone. */
declare const __FILES__: readonly string[];
declare const __VERSION__: string;

const CACHE = `tidenote-${__VERSION__}`;
const files = new Set(__FILES__);
const worker = self as unknown as Worker;

worker.addEventListener("install", (event) => event.waitUntil(fill()));
worker.addEventListener("activate", (event) => event.waitUntil(takeOver()));
worker.addEventListener("message", (event) => {
  if (event.data === "take-over") event.waitUntil(worker.skipWaiting());
});
worker.addEventListener("fetch", (event) => {
  const { pathname, origin } = new URL(event.request.url);
  if (event.request.method === "GET" && origin === location.origin && files.has(pathname)) {
    event.respondWith(answer(pathname, event.request));
  }
});

async function fill(): Promise<void> {
  const cache = await caches.open(CACHE);
  await cache.addAll(__FILES__.map((file) => new Request(file, { cache: "reload" })));
}

async function takeOver(): Promise<void> {
  const old = (await caches.keys()).filter((name) => name.startsWith("tidenote-") && name !== CACHE);
  await Promise.all(old.map((name) => caches.delete(name)));
  await worker.clients.claim();
}

async function answer(pathname: string, request: Request): Promise<Response> {
  const cache = await caches.open(CACHE);
  return (await cache.match(pathname)) ?? fetch(request);
}
