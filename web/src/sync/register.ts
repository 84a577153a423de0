/**
 * The register of one key: a multi-value register with an exact causal context, read as last-writer-wins
 * (docs/protocol.md 5). `join` is the only way in which states meet.
 */

import { compareDots, dotId, type Dot, type Stub } from "./version";

/** The dots that a register has seen: all up to `floor`, and those in `dots`. */
export interface Context {
  readonly floor: number;
  readonly dots: ReadonlyMap<string, Dot>;
}

/** The state of one key: the changes that no other has replaced, in the order of their dots, and the context. */
export interface Register<S extends Stub = Stub> {
  readonly siblings: readonly S[];
  readonly context: Context;
}

/** The register of a key that nobody wrote. */
export const EMPTY: Register<never> = { siblings: [], context: { floor: 0, dots: new Map() } };

/** Return the register of one change: its context is exactly its base; a blind write has seen everything older. */
export function registerOf<S extends Stub>(change: S): Register<S> {
  const context =
    change.base === undefined
      ? { floor: change.timestamp - 1, dots: new Map<string, Dot>() }
      : { floor: 0, dots: new Map(change.base.map((dot) => [dotId(dot), dot])) };
  return { siblings: [change], context };
}

/**
 * Return the least register that has seen what both have. Laws (run as properties): commutative, associative,
 * idempotent; hence any order and duplication of the same changes gives the same register. Never empty, if no input is.
 */
export function join<S extends Stub>(first: Register<S>, second: Register<S>): Register<S> {
  const floor = Math.max(first.context.floor, second.context.floor);
  const seen = [...first.context.dots, ...second.context.dots];
  const dots = new Map(seen.filter(([, dot]) => dot.timestamp > floor));
  const siblings = new Map<string, S>();
  for (const change of [...first.siblings, ...second.siblings]) {
    const id = dotId(change);
    if (change.timestamp > floor && !dots.has(id)) siblings.set(id, change);
  }
  return { siblings: [...siblings.values()].sort(compareDots), context: { floor, dots } };
}

/** Return the join of the changes' own registers. */
export function joinAll<S extends Stub>(changes: Iterable<S>): Register<S> {
  let register: Register<S> = EMPTY;
  for (const change of changes) register = join(register, registerOf(change));
  return register;
}

/** Return the sibling that everyone shows: the greatest that is no deletion, else the greatest; null if none. */
export function winnerOf<S extends Stub>(siblings: readonly S[]): S | null {
  return siblings.reduce<S | null>((best, change) => (best === null || beats(change, best) ? change : best), null);
}

function beats(change: Stub, other: Stub): boolean {
  if (change.deleted !== other.deleted) return !change.deleted;
  return compareDots(change, other) > 0;
}
