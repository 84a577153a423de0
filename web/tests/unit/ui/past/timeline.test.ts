import { describe, expect, it } from "vitest";

import type { Version } from "../../../../src/ui/api";
import {
  daysOf,
  defaultOther,
  deviceOf,
  isServer,
  momentsOf,
  RUN_GAP_MS,
  storyOf,
} from "../../../../src/ui/past/timeline";

const NOON = new Date(2026, 2, 14, 12).getTime();

function version(timestamp: number, device_id: string, more: Partial<Version> = {}): Version {
  const received_at = NOON + timestamp * 1000;
  return { key: "note:a.md", timestamp, device_id, receipt: timestamp, received_at, size: 1, ...more };
}

const events = (versions: Version[]) => momentsOf(versions, true).map(({ event }) => event);

describe("momentsOf", () => {
  it("says what each version did", () => {
    const versions = [
      version(9, "phone", { parents: [{ timestamp: 8, device_id: "laptop" }] }),
      version(8, "laptop", { deleted: true }),
      version(7, "server.1-a", { parents: [{ timestamp: 6, device_id: "server.1-a" }], sha256: "new" }),
      version(6, "server.1-a", {
        parents: [
          { timestamp: 5, device_id: "laptop" },
          { timestamp: 5, device_id: "phone" },
        ],
        conflict: true,
      }),
      version(5, "phone"),
      version(5, "laptop"),
      version(3, "laptop"),
      version(2, "laptop", { key: "note:old.md" }),
    ];
    expect(events(versions)).toEqual([
      "revived",
      "deleted",
      "settled",
      "merged",
      "edited",
      "edited",
      "renamed",
      "created",
    ]);
    expect(momentsOf(versions, true)[3]?.from).toEqual(["laptop", "phone"]);
    expect(momentsOf(versions, true)[6]?.earlierName).toBe("note:old.md");
  });

  it("tells a rename once, by whoever did it, though somebody wrote on meanwhile", () => {
    const versions = [
      version(5, "phone", { parents: [{ timestamp: 3, device_id: "laptop" }] }),
      version(4, "laptop", { key: "note:old.md", deleted: true, moved_to: "note:a.md" }),
      version(3, "laptop"),
      version(2, "laptop", { key: "note:old.md" }),
      version(1, "tablet", { key: "note:old.md", deleted: true, moved_to: "note:elsewhere.md" }),
    ];
    const story = storyOf(versions, "note:a.md");
    expect(story.map(({ timestamp }) => timestamp)).toEqual([5, 3, 2, 1]);
    expect(momentsOf(story, false).map(({ event, earlierName }) => [event, earlierName])).toEqual([
      ["edited", null],
      ["renamed", "note:old.md"],
      ["revived", null],
      ["renamed", null],
    ]);
    // Of the old name itself it is the last that is known.
    expect(storyOf(versions.slice(1, 2), "note:old.md")).toHaveLength(1);
  });

  it("tells a restore from what a person settled, and says what came back", () => {
    const over = (timestamp: number, device_id = "server.1-a") => ({ parents: [{ timestamp, device_id }] });
    const versions = [
      version(14, "server.1-a", { ...over(13), sha256: "a" }),
      version(13, "laptop", { deleted: true, ...over(12) }),
      version(12, "server.1-a", { ...over(11), sha256: "f" }),
      version(11, "server.1-a", { ...over(10), sha256: "b", conflict: true }),
      version(10, "server.1-a", { ...over(9), sha256: "b" }),
      version(9, "server.1-a", {
        ...over(8, "phone"),
        sha256: "b",
        conflict: true,
        merged_from: [{ timestamp: 1, device_id: "phone" }],
      }),
      version(8, "phone", { ...over(7), sha256: "c" }),
      version(7, "server.1-a", { ...over(6, "laptop"), sha256: "a" }),
      version(6, "laptop", { ...over(5, "laptop"), sha256: "d" }),
      version(5, "laptop", { ...over(4, "server.1-a"), sha256: "a" }),
      version(4, "server.1-a", { parents: [], sha256: "e" }),
    ];
    const moments = momentsOf(versions, true);
    expect(moments.map(({ event }) => event)).toEqual([
      "restored",
      "deleted",
      "settled",
      "reopened",
      "settled",
      "merged",
      "edited",
      "restored",
      "edited",
      "edited",
      "apart",
    ]);
    expect([moments[0]?.source?.timestamp, moments[7]?.source?.timestamp]).toEqual([7, 5]);
    // Over a merge that nobody has looked at, too: an older text than those that were merged.
    const merged = [
      version(4, "server.1-a", { parents: [{ timestamp: 3, device_id: "laptop" }], conflict: true, sha256: "m" }),
      version(3, "laptop", { ...over(1, "laptop"), sha256: "b" }),
      version(1, "laptop", { sha256: "a" }),
    ];
    expect(momentsOf([version(5, "server.1-a", { ...over(4), sha256: "a" }), ...merged], true)[0]).toMatchObject({
      event: "restored",
      source: { timestamp: 1 },
    });
    expect(momentsOf([version(5, "server.1-a", { ...over(4), sha256: "b" }), ...merged], true)[0]?.event).toBe(
      "settled",
    );
    // What came back may be older than what was read so far.
    const [restore] = momentsOf([version(9, "server.1-a", { ...over(8), sha256: "z" })], false);
    expect(restore).toMatchObject({ event: "restored", source: null });
  });

  it("names whose edit came along from another name, and no deletion as a source", () => {
    const [merge] = momentsOf(
      [
        version(6, "server.1-a", {
          parents: [
            { timestamp: 5, device_id: "laptop" },
            { timestamp: 4, device_id: "tablet" },
          ],
          merged_from: [{ timestamp: 3, device_id: "phone" }],
        }),
        version(5, "laptop"),
        version(4, "tablet", { deleted: true }),
      ],
      true,
    );
    expect(merge).toMatchObject({ event: "merged", from: ["laptop", "phone"] });
  });

  it("does not call the last known version the first while there may be older ones", () => {
    expect(momentsOf([version(2, "laptop")], false)[0]?.event).toBe("edited");
    expect(events([version(2, "laptop", { deleted: true, moved_to: "note:b.md" })])).toEqual(["renamed"]);
  });
});

describe("daysOf", () => {
  it("joins saves of one device that follow each other, whatever its incarnation", () => {
    const versions = [version(90, "laptop~2"), version(60, "laptop"), version(30, "phone"), version(1, "laptop")];
    const [day] = daysOf(momentsOf(versions, false));
    expect(day?.start).toBe(new Date(2026, 2, 14).getTime());
    expect(day?.entries.map(({ moments }) => moments.map((moment) => moment.version.timestamp))).toEqual([
      [90, 60],
      [30],
      [1],
    ]);
  });

  it("parts what is days or a pause apart, and the current version", () => {
    const before = version(1, "laptop", { received_at: NOON - RUN_GAP_MS - 1 });
    const yesterday = version(0, "laptop", { received_at: NOON - 86_400_000 });
    const now = version(3, "laptop", { received_at: NOON, current: true });
    const days = daysOf(momentsOf([now, version(2, "laptop", { received_at: NOON }), before, yesterday], false));
    expect(days.map(({ entries }) => entries.length)).toEqual([3, 1]);
  });
});

describe("defaultOther", () => {
  it("is the next older version with a text", () => {
    const versions = [
      version(4, "a"),
      version(3, "a", { deleted: true }),
      version(2, "a", { gone: true }),
      version(1, "a"),
    ];
    expect(defaultOther(versions, version(4, "a"))).toBe(versions[3]);
    expect(defaultOther(versions, version(1, "a"))).toBeNull();
  });
});

describe("names", () => {
  it("knows servers and incarnations", () => {
    expect([isServer("server.1-9f2c"), isServer("server"), isServer("serverless")]).toEqual([true, true, false]);
    expect([deviceOf("phone~12"), deviceOf("phone"), deviceOf("a~b")]).toEqual(["phone", "phone", "a~b"]);
  });
});
