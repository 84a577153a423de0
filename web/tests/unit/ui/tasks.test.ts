import { expect, test } from "vitest";

import { LinkIndex } from "../../../src/ui/preview/links";
import { tickOf } from "../../../src/ui/preview/tasks";

const place = { path: "list.md", index: new LinkIndex([]) };
const SHOWN = "- [ ] milk\n- [x] bread\n";

function ticked(now: string, number: number): string | null {
  const tick = tickOf(SHOWN, now, number, place);
  return tick && now.slice(0, tick.at) + tick.mark + now.slice(tick.at + 1);
}

test("a click turns the mark of its own box", () => {
  expect(ticked(SHOWN, 0)).toBe("- [x] milk\n- [x] bread\n");
  expect(ticked(SHOWN, 1)).toBe("- [ ] milk\n- [ ] bread\n");
  expect(ticked(SHOWN, 2)).toBeNull();
});

test("what was typed since does not lead to another box", () => {
  expect(ticked(`Buy:\n${SHOWN}`, 1)).toBe("Buy:\n- [ ] milk\n- [ ] bread\n");
  expect(ticked("- [ ] milk\n- [ ] eggs\n- [x] bread\n", 1)).toBe("- [ ] milk\n- [ ] eggs\n- [ ] bread\n");
  expect(ticked("- [ ] milk\n- bread\n", 1)).toBeNull();
  expect(ticked("", 0)).toBeNull();
});
