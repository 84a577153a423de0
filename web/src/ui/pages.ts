/** Which component shows which page. A page is loaded when it is first opened. */
import type { Component } from "svelte";

import type { PageName, Route } from "./routes";

export type PageComponent = Component<{ route: Route }>;

type Loader = () => Promise<{ default: PageComponent }>;

export const pages: Partial<Record<PageName, Loader>> = {
  notes: () => import("./notes/NotesPage.svelte"),
  note: () => import("./editor/NotePage.svelte"),
  search: () => import("./notes/SearchPage.svelte"),
  conflicts: plain(() => import("./conflicts/ConflictsPage.svelte")),
  conflict: () => import("./conflicts/ConflictPage.svelte"),
  history: () => import("./past/HistoryPage.svelte"),
  moment: () => import("./past/MomentPage.svelte"),
  trash: plain(() => import("./past/TrashPage.svelte")),
  devices: plain(() => import("./devices/DevicesPage.svelte")),
  vaults: plain(() => import("./devices/VaultsPage.svelte")),
  holds: plain(() => import("./devices/HoldsPage.svelte")),
  pair: () => import("./devices/PairPage.svelte"),
};

/** A page whose address says nothing but its name takes no route. */
function plain(load: () => Promise<{ default: Component }>): Loader {
  return load as Loader;
}
