/**
 * The link's next step from plain state: connect, ask by HTTP, wait, or stop. Pure: time and chance are arguments.
 * Transitions (`opened`, `lost`, `polled`, ...) say what happened, `nextStep` what to do about it; link.ts does it.
 */

/** The pauses and bounds of a link, all in ms. */
export interface LinkConfig {
  /** Between two polls while no WebSocket can be had. */
  readonly pollMs: number;
  readonly backoffInitialMs: number;
  readonly backoffMaxMs: number;
  /** After how long an open WebSocket counts as stable: then the pauses start over. */
  readonly stableAfterMs: number;
  readonly connectTimeoutMs: number;
  /** How long an open WebSocket may be silent before the server is asked for an answer. */
  readonly heartbeatMs: number;
  /** How long it may then, or after any push, stay silent. */
  readonly answerTimeoutMs: number;
  /** The same when the network is known to have changed. */
  readonly doubtTimeoutMs: number;
}

export const DEFAULT_CONFIG: LinkConfig = {
  pollMs: 5000,
  backoffInitialMs: 300,
  backoffMaxMs: 30_000,
  stableAfterMs: 30_000,
  connectTimeoutMs: 10_000,
  heartbeatMs: 20_000,
  answerTimeoutMs: 30_000,
  doubtTimeoutMs: 5000,
};

/** The first time without a WebSocket: the longest time until it is tried again. */
const WEBSOCKET_RETRY_FIRST_MS = 1000;
/** While HTTP works and WebSockets do not: the longest time until one is tried again. */
const WEBSOCKET_RETRY_MAX_MS = 60_000;

export type Step =
  /** Open a WebSocket and talk until it ends. */
  | { readonly kind: "connect" }
  /** Push and pull everything by HTTP, once. */
  | { readonly kind: "poll" }
  /** Wait, but no longer than until something happens; then ask again. */
  | { readonly kind: "wait"; readonly ms: number }
  /** Do nothing any more. */
  | { readonly kind: "stop" };

/** All that the next step depends on. Times are of one monotonic clock, in ms. */
export interface LinkState {
  /** When the open WebSocket got its first answer; null while none is open. */
  readonly connectedAt: number | null;
  /** Whether the last exchange by HTTP worked and no WebSocket did since. */
  readonly polling: boolean;
  /** Attempts of either kind in a row that failed, or did not last. */
  readonly failures: number;
  /** WebSocket attempts in a row that failed while HTTP worked. */
  readonly blocked: number;
  /** Whether the next attempt of a link without success goes by HTTP. */
  readonly httpIsNext: boolean;
  /** Before that, no attempt; while polling, the next poll. */
  readonly dueAt: number;
  /** While polling, when to try a WebSocket again. */
  readonly socketDueAt: number;
  /** Whether there is something to send. */
  readonly hurry: boolean;
  /** Whether a code came that trying again does not cure, or the owner closed the link. */
  readonly stopped: boolean;
}

export const INITIAL: LinkState = {
  connectedAt: null,
  polling: false,
  failures: 0,
  blocked: 0,
  httpIsNext: false,
  dueAt: 0,
  socketDueAt: 0,
  hurry: false,
  stopped: false,
};

/** Return what to do now, while no WebSocket is open. */
export function nextStep(state: LinkState, now: number): Step {
  if (state.stopped) return { kind: "stop" };
  if (state.polling) return whilePolling(state, now);
  if (now < state.dueAt) return { kind: "wait", ms: state.dueAt - now };
  return { kind: state.httpIsNext ? "poll" : "connect" };
}

function whilePolling(state: LinkState, now: number): Step {
  if (now >= state.socketDueAt) return { kind: "connect" };
  const dueAt = Math.min(state.hurry ? now : state.dueAt, state.socketDueAt);
  return now < dueAt ? { kind: "wait", ms: dueAt - now } : { kind: "poll" };
}

/** A WebSocket got its first answer. */
export function opened(state: LinkState, now: number): LinkState {
  return { ...state, connectedAt: now, polling: false, hurry: false };
}

/** The open WebSocket was closed by ourselves. */
export function closed(state: LinkState): LinkState {
  return { ...state, connectedAt: null };
}

/**
 * A WebSocket ended, or could not be opened. A browser does not say why it could not: HTTP, which is next then, does.
 *
 * @param chance - a random number in 0..1, the jitter.
 * @param replaced - whether the same device connected elsewhere; then the longest pause, lest the two chase each other.
 */
export function lost(state: LinkState, config: LinkConfig, now: number, chance: number, replaced = false): LinkState {
  const wasOpen = state.connectedAt !== null;
  const stable = state.connectedAt !== null && now - state.connectedAt >= config.stableAfterMs;
  const before = stable ? { ...state, failures: 0, blocked: 0 } : state;
  if (state.polling) {
    const blocked = before.blocked + 1;
    const bound = Math.min(WEBSOCKET_RETRY_FIRST_MS * 2 ** Math.min(blocked, 16), WEBSOCKET_RETRY_MAX_MS);
    return { ...before, blocked, socketDueAt: now + halfJitter(bound, chance) };
  }
  const failures = before.failures + 1;
  const wait = replaced ? halfJitter(config.backoffMaxMs, chance) : pause(failures, config, chance);
  return { ...before, connectedAt: null, failures, httpIsNext: !wasOpen, dueAt: now + wait };
}

/** An exchange by HTTP worked. */
export function polled(state: LinkState, config: LinkConfig, now: number, chance: number): LinkState {
  // The server may just have come back: the WebSocket gets its chance soon, then ever less often.
  const soon = now + halfJitter(WEBSOCKET_RETRY_FIRST_MS, chance);
  return {
    ...state,
    polling: true,
    failures: 0,
    httpIsNext: false,
    dueAt: now + config.pollMs,
    socketDueAt: state.polling ? state.socketDueAt : soon,
  };
}

/** An exchange by HTTP did not work. */
export function pollFailed(state: LinkState, config: LinkConfig, now: number, chance: number): LinkState {
  const failures = state.failures + 1;
  const dueAt = now + pause(failures, config, chance);
  return { ...state, polling: false, failures, blocked: 0, httpIsNext: false, dueAt };
}

/** There is something to send: an exchange by HTTP need not wait for its time. */
export function hurried(state: LinkState): LinkState {
  return { ...state, hurry: true };
}

/** An exchange by HTTP begins: what there is to send goes along. */
export function sending(state: LinkState): LinkState {
  return { ...state, hurry: false };
}

/** The network came back, or somebody looks: no pause is worth keeping. */
export function awakened(state: LinkState): LinkState {
  return { ...state, dueAt: 0, socketDueAt: 0 };
}

/** A code came that trying again does not cure, or the owner closes the link. */
export function stopped(state: LinkState): LinkState {
  return { ...state, stopped: true, connectedAt: null, polling: false };
}

/**
 * Return how long to wait after so many failures in a row, ms: full jitter below a bound that doubles, so that a
 * thousand devices that lost the same server do not come back at once.
 */
export function pause(failures: number, config: LinkConfig, chance: number): number {
  return Math.floor(Math.min(config.backoffInitialMs * 2 ** (failures - 1), config.backoffMaxMs) * chance);
}

function halfJitter(bound: number, chance: number): number {
  return Math.floor((bound * (1 + chance)) / 2);
}

/** What is known of an open WebSocket's silence. */
export interface Silence {
  /** When the server was last heard, or took something that was sent. */
  readonly heardAt: number;
  /** When the push that waits for its answer was sent; null if none does. */
  readonly askedAt: number | null;
  /** Whether the network is known to have changed since the server was last heard. */
  readonly doubtful: boolean;
}

/**
 * Return what to do about the silence of an open WebSocket. A browser answers the server's pings without a word and
 * cannot send any: an empty push, which has to be answered, stands in for them.
 */
export function watch(
  silence: Silence,
  config: LinkConfig,
  now: number,
): { readonly kind: "wait"; readonly ms: number } | { readonly kind: "probe" } | { readonly kind: "dead" } {
  const asked = silence.askedAt !== null;
  if (!asked && silence.doubtful) return { kind: "probe" };
  const bound = !asked ? config.heartbeatMs : silence.doubtful ? config.doubtTimeoutMs : config.answerTimeoutMs;
  const ms = Math.max(silence.heardAt, silence.askedAt ?? 0) + bound - now;
  if (ms > 0) return { kind: "wait", ms };
  return { kind: asked ? "dead" : "probe" };
}
