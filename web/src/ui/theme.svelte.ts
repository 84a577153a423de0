/** Light, dark, or what the system says. `public/theme.js` applies the choice before the first paint. */

export type Theme = "system" | "light" | "dark";

const KEY = "tidenote-theme";
const ORDER: readonly Theme[] = ["system", "light", "dark"];

class ThemeChoice {
  current: Theme = $state((document.documentElement.dataset.theme as Theme | undefined) ?? "system");

  /** Go on to the next choice, and remember it in this browser. */
  next(): void {
    this.current = ORDER[(ORDER.indexOf(this.current) + 1) % ORDER.length] ?? "system";
    if (this.current === "system") {
      delete document.documentElement.dataset.theme;
      localStorage.removeItem(KEY);
    } else {
      document.documentElement.dataset.theme = this.current;
      localStorage.setItem(KEY, this.current);
    }
  }
}

export const theme = new ThemeChoice();
