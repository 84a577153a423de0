/** Which component shows which page. A page is loaded when it is first opened. */
import type { Component } from "svelte";

import type { PageName, Route } from "./routes";

export type PageComponent = Component<{ route: Route }>;

export const pages: Partial<Record<PageName, () => Promise<{ default: PageComponent }>>> = {
  notes: () => import("./notes/NotesPage.svelte"),
  note: () => import("./editor/NotePage.svelte"),
  search: () => import("./notes/SearchPage.svelte"),
};
