/**
 * A place for an editor. In a shadow root CodeMirror puts its styles into constructed style sheets, which a strict
 * content security policy allows; in the page itself it would need inline ones.
 */

/** Return the element's shadow root, empty. */
export function shadowHost(element: HTMLElement): ShadowRoot {
  const root = element.shadowRoot ?? element.attachShadow({ mode: "open" });
  root.replaceChildren();
  return root;
}
