/** What the window is like now. */
import { MediaQuery } from "svelte/reactivity";

/** Whether there is room for the notes beside what is open; the same width as in the style sheets. */
export const wide = new MediaQuery("(min-width: 52rem)", true);
