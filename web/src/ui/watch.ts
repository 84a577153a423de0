/** When to ask the server again about what is shown: it said so, notes changed, or it is back. */
import { app } from "./app.svelte";

/** What arrives within this time is asked about once. */
const TOGETHER_MS = 150;

export type Topic = "devices" | "holds";

/**
 * Call `look` after what may matter, until the returned function is called.
 *
 * @param topic that the server gives notice of; null for none.
 * @param keys of notes whose changes matter; null for all notes, an empty list for none.
 */
export function watch(topic: Topic | null, keys: readonly string[] | null, look: () => void): () => void {
  const { replica } = app;
  if (!replica) return () => undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let { state } = replica.status();
  const soon = () => {
    timer ??= setTimeout(() => {
      timer = undefined;
      look();
    }, TOGETHER_MS);
  };
  const ends = [
    replica.subscribe((event) => {
      if (keys === null || event.keys.some((key) => keys.includes(key))) soon();
    }),
    replica.onNotice((noticed) => {
      if (noticed === topic) soon();
    }),
    replica.onStatus((status) => {
      if (status.state === "connected" && state !== "connected") soon();
      state = status.state;
    }),
    () => clearTimeout(timer),
  ];
  return () => ends.forEach((end) => end());
}
