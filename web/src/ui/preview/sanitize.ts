/** The last gate before a note's HTML becomes part of the page: DOMPurify with a short list. */
import DOMPurify from "dompurify";

const TAGS =
  "a blockquote br code del em h1 h2 h3 h4 h5 h6 hr img input li ol p pre s span strong table tbody td th thead tr ul".split(
    " ",
  );
const ATTRIBUTES = "alt aria-label checked class data-path disabled href rel src start target type".split(" ");

/** Return the nodes of a text of HTML, with nothing in them that runs, loads from elsewhere or has a style. */
export function sanitize(html: string): DocumentFragment {
  return DOMPurify.sanitize(html, {
    ALLOWED_TAGS: TAGS,
    ALLOWED_ATTR: ATTRIBUTES,
    // These never lead anywhere; all others must be an address that is allowed.
    ADD_URI_SAFE_ATTR: ATTRIBUTES.filter((name) => name !== "href" && name !== "src"),
    ALLOW_ARIA_ATTR: false,
    ALLOW_DATA_ATTR: false,
    ALLOWED_URI_REGEXP: /^(?:(?:https?|mailto|tel):|#|data:image\/(?:png|gif|jpeg|webp);base64,)/i,
    RETURN_DOM_FRAGMENT: true,
  });
}
