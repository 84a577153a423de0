/** Puts a text on the clipboard. */
import { messages } from "../messages";
import { toast } from "./toasts.svelte";

/** Copy a text, and say whether that worked. */
export async function copyText(text: string): Promise<void> {
  const isCopied = await copied(text);
  toast(isCopied ? messages.common.copied : messages.common.notCopied, isCopied ? {} : { kind: "danger" });
}

async function copied(text: string): Promise<boolean> {
  // The types say that it is always there; pages from `http:` other than localhost know better.
  const clipboard = navigator.clipboard as Clipboard | undefined;
  if (!clipboard) return copiedByCommand(text);
  return clipboard.writeText(text).then(
    () => true,
    () => false,
  );
}

function copiedByCommand(text: string): boolean {
  const give = (event: ClipboardEvent): void => {
    event.clipboardData?.setData("text/plain", text);
    event.preventDefault();
  };
  document.addEventListener("copy", give, { once: true });
  // Deprecated, and the only way there.
  const isCopied = document.execCommand("copy");
  document.removeEventListener("copy", give);
  return isCopied;
}
