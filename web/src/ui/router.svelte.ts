/** Where the person is. Components read `router.route`; `go` takes them elsewhere. */
import { href, parseRoute, type PageName, type Route } from "./routes";

class Router {
  route: Route = $state.raw(parseRoute(location.hash));

  constructor() {
    addEventListener("hashchange", () => {
      this.route = parseRoute(location.hash);
    });
    // A link to where we are leads there again: what it names may be out of sight by now.
    addEventListener("click", ({ target }) => {
      const link = target instanceof Element ? target.closest("a") : null;
      if (link?.hash && link.hash === location.hash) this.route = parseRoute(location.hash);
    });
  }
}

export const router = new Router();

/** Open a page; `replace` leaves no step to come back to. */
export function go(
  page: PageName,
  argument = "",
  options: { query?: Record<string, string>; replace?: boolean } = {},
): void {
  const target = href(page, argument, options.query);
  if (options.replace) {
    history.replaceState(null, "", target);
    router.route = parseRoute(target);
  } else {
    location.hash = target;
  }
}
