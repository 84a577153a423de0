/** Short messages at the edge of the page, with one thing to do about them. */

export interface Toast {
  readonly id: number;
  readonly text: string;
  readonly kind: "info" | "danger";
  readonly action: { label: string; run: () => void } | undefined;
}

const SHOWN_MS = 8_000;

let lastId = 0;

export const toasts: { list: Toast[] } = $state({ list: [] });

/** Show a message for eight seconds; one with `sticky` stays until it is closed. Return what closes it. */
export function toast(
  text: string,
  options: Partial<Pick<Toast, "kind" | "action">> & { sticky?: boolean } = {},
): () => void {
  lastId += 1;
  const id = lastId;
  toasts.list.push({ id, text, kind: options.kind ?? "info", action: options.action });
  const close = () => dismiss(id);
  if (!options.sticky) setTimeout(close, SHOWN_MS);
  return close;
}

export function dismiss(id: number): void {
  toasts.list = toasts.list.filter((one) => one.id !== id);
}
