/** The keyboard: who wants which keys now, and the list that `?` shows. */

import { untrack } from "svelte";

export interface Shortcut {
  /** As people read it: "Alt+N", "Mod+K" (Ctrl, or Cmd on a Mac), "?" or "G C", one key after the other. */
  readonly keys: string;
  readonly label: string;
  /** Null for what works without us, and is only listed. */
  readonly run: (() => void) | null;
  /** Whether it also works while text is being typed; by default if it has a Mod, or an Alt that types nothing. */
  readonly whileTyping?: boolean;
}

const SEQUENCE_MS = 1_200;

const isMac = /Mac|iPhone|iPad/.test(navigator.platform);
const CAPS: Readonly<Record<string, string>> = isMac ? { Mod: "⌘", Alt: "⌥" } : { Mod: "Ctrl" };

/** The keys that type nothing with another one; on a Mac Alt is the Option key, which does. */
const SILENT = isMac ? /Mod/ : /Mod|Alt/;

class Known {
  list: readonly Shortcut[] = $state.raw([]);
}

const known = new Known();
let before = { key: "", at: 0 };

/** Return what is available now, the latest first. */
export function shortcuts(): readonly Shortcut[] {
  return known.list;
}

/** Offer shortcuts until the returned function is called. An effect that does so does not depend on the others. */
export function addShortcuts(list: readonly Shortcut[]): () => void {
  untrack(() => (known.list = [...list, ...known.list]));
  return () => {
    untrack(() => (known.list = known.list.filter((one) => !list.includes(one))));
  };
}

/** Return the keys as they are written on this machine's keyboard. */
export function keycaps(keys: string): string[] {
  return keys.split(/[+ ]/).map((key) => CAPS[key] ?? key);
}

/** Run the shortcut that a key press means, if there is one. */
export function onKeydown(event: KeyboardEvent): void {
  if (event.defaultPrevented || event.isComposing || document.querySelector("dialog[open]")) return;
  const pressed = describe(event);
  const sequence = event.timeStamp - before.at < SEQUENCE_MS ? `${before.key} ${pressed}` : pressed;
  before = { key: pressed, at: event.timeStamp };
  const typing = isTyping(event);
  const match = known.list.find(
    (one) =>
      one.run &&
      (one.keys === pressed || one.keys === sequence) &&
      (!typing || (one.whileTyping ?? SILENT.test(one.keys))),
  );
  if (!match?.run) return;
  event.preventDefault();
  match.run();
}

function describe(event: KeyboardEvent): string {
  const letter = event.key.length === 1 ? event.key.toUpperCase() : event.key;
  // With Alt some keyboards type another character; the key that was pressed is what counts.
  const key = event.altKey && /^Key[A-Z]$/.test(event.code) ? event.code.slice(3) : letter;
  const shifted = event.shiftKey && key.length > 1 ? "Shift+" : "";
  return `${(isMac ? event.metaKey : event.ctrlKey) ? "Mod+" : ""}${event.altKey ? "Alt+" : ""}${shifted}${key}`;
}

function isTyping(event: KeyboardEvent): boolean {
  // The editor lives in a shadow root; its path begins inside.
  const target = event.composedPath()[0];
  if (!(target instanceof HTMLElement)) return false;
  // Who stands on a choice or a tick types nothing.
  return target.isContentEditable || target.matches("input:not([type=radio], [type=checkbox]), textarea, select");
}
