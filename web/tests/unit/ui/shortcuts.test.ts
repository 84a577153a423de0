// @vitest-environment jsdom
import { afterEach, beforeEach, expect, test, vi } from "vitest";

let field: HTMLTextAreaElement;

beforeEach(() => {
  field = document.body.appendChild(document.createElement("textarea"));
});

afterEach(() => {
  document.body.replaceChildren();
  vi.restoreAllMocks();
  vi.resetModules();
});

/** Press Alt and R on a keyboard that has another character there, and return whether the shortcut took it. */
async function pressAltR(platform: string, target: EventTarget): Promise<boolean> {
  vi.spyOn(navigator, "platform", "get").mockReturnValue(platform);
  const { addShortcuts, onKeydown } = await import("../../../src/ui/shortcuts.svelte");
  const run = vi.fn();
  addShortcuts([{ keys: "Alt+R", label: "Rename", run }]);
  const event = new KeyboardEvent("keydown", { key: "®", code: "KeyR", altKey: true, cancelable: true, bubbles: true });
  addEventListener("keydown", onKeydown, { once: true });
  target.dispatchEvent(event);
  expect(run).toHaveBeenCalledTimes(event.defaultPrevented ? 1 : 0);
  return event.defaultPrevented;
}

test("a shortcut with Alt works in a text field, but on a Mac, where Option types characters", async () => {
  expect(await pressAltR("Linux x86_64", field)).toBe(true);
  vi.resetModules();
  expect(await pressAltR("MacIntel", field)).toBe(false);
  vi.resetModules();
  expect(await pressAltR("MacIntel", document.body)).toBe(true);
});

test("keys are called what stands on them", async () => {
  vi.spyOn(navigator, "platform", "get").mockReturnValue("MacIntel");
  const { keycaps } = await import("../../../src/ui/shortcuts.svelte");
  expect(keycaps("Mod+K")).toEqual(["⌘", "K"]);
  expect(keycaps("Alt+N")).toEqual(["⌥", "N"]);
});
