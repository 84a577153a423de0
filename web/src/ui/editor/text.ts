/** Bytes that may be a text. */

/** Return the text that bytes are, with its byte-order mark if it has one; null if they are no UTF-8. */
export async function textIn(bytes: Blob): Promise<string | null> {
  const read = await bytes.arrayBuffer();
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(read);
  } catch {
    return null;
  }
}
