/**
 * Stands in for @codemirror/lang-html, which @codemirror/lang-markdown wants for HTML inside of notes: with scripts and
 * styles in it that is a fifth of the app. HTML in a note is text here. Only `markdown()` would use it, and is not used.
 */
export const html = (): null => null;
export const htmlCompletionSource = html;
