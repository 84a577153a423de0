/** The service worker: the app starts offline after the first visit, and says when there is a newer one. */
import { messages } from "./messages";
import { toast } from "./parts/toasts.svelte";

/** Register the worker, where there may be one: over https, or on this machine. */
export async function watchForUpdates(): Promise<void> {
  if (!import.meta.env.PROD || !("serviceWorker" in navigator)) return;
  const workers = navigator.serviceWorker;
  let hadOne = workers.controller !== null;
  let offered: ServiceWorker | null = null;
  workers.addEventListener("controllerchange", () => {
    if (hadOne) location.reload();
    hadOne = true;
  });

  const offer = (worker: ServiceWorker | null): void => {
    if (!worker || !workers.controller || offered === worker) return;
    offered = worker;
    const action = { label: messages.common.reload, run: () => worker.postMessage("take-over") };
    toast(messages.shell.update, { action, sticky: true });
  };

  try {
    const registration = await workers.register("/sw.js");
    offer(registration.waiting);
    registration.addEventListener("updatefound", () => {
      const worker = registration.installing;
      worker?.addEventListener("statechange", () => {
        if (worker.state === "installed") offer(worker);
      });
    });
  } catch {
    // A private window, or a site without https: the app works, online.
  }
}
