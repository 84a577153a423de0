/** The pages that the navigation offers, in its order. */
import type { App } from "../app.svelte";
import { messages } from "../messages";
import { pages } from "../pages";
import type { IconName } from "../parts/Icon.svelte";
import type { PageName } from "../routes";

export interface Entry {
  readonly page: PageName;
  readonly label: string;
  readonly icon: IconName;
  /** The second key after G that opens it. */
  readonly key: string;
  /** How many things wait there for a person. */
  readonly waiting: (app: App) => number;
  readonly waitingLabel: (n: number) => string;
}

const words = messages.shell;
const none = { waiting: () => 0, waitingLabel: () => "" };

const ENTRIES: readonly Entry[] = [
  { page: "notes", label: words.notes, icon: "notes", key: "N", ...none },
  { page: "search", label: words.search, icon: "search", key: "S", ...none },
  {
    page: "conflicts",
    label: words.conflicts,
    icon: "conflicts",
    key: "C",
    waiting: (app) => app.conflicts,
    waitingLabel: words.toSettle,
  },
  {
    page: "holds",
    label: words.holds,
    icon: "holds",
    key: "H",
    waiting: (app) => app.holds,
    waitingLabel: words.toConfirm,
  },
  { page: "moment", label: words.moment, icon: "moment", key: "P", ...none },
  { page: "trash", label: words.trash, icon: "trash", key: "T", ...none },
  { page: "devices", label: words.devices, icon: "devices", key: "D", ...none },
  { page: "vaults", label: words.vaults, icon: "vaults", key: "V", ...none },
];

/** Return what is worth a place: every page there is, and held deletions only while there are any. */
export function entries(app: App): readonly Entry[] {
  return ENTRIES.filter((entry) => pages[entry.page] && (entry.page !== "holds" || app.holds > 0));
}
