/** Notes that want to run scripts: in texts, titles, paths, links, pictures and front matter. The real policy is on. */
import type { Page } from "@playwright/test";

import { expect, openApp, test } from "./fixtures";

declare global {
  interface Window {
    /** Set by any script that got to run. */
    hacked?: string;
    violations: string[];
  }
}

const RUN = "window.hacked=document.title";
const SVG = `<svg xmlns="http://www.w3.org/2000/svg" onload="${RUN}"><script>${RUN}</script><foreignObject><body xmlns="http://www.w3.org/1999/xhtml" onload="${RUN}"/></foreignObject></svg>`;

const TEXTS = [
  `<script>${RUN}</script>`,
  `<img src=x onerror="${RUN}">`,
  `<svg/onload=${RUN}>`,
  `<iframe srcdoc="<script>parent.${RUN}</script>"></iframe>`,
  `<style>@import '//127.0.0.1:1/x.css';</style><p style="background:url(//127.0.0.1:1/x)">x</p>`,
  `<base href="javascript:/"><a href="x">x</a>`,
  `<form action="javascript:${RUN}"><button autofocus onfocus="${RUN}">x</button></form>`,
  `<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 onerror=${RUN}&gt;">`,
  `<details open ontoggle="${RUN}">x</details>`,
  `[x](javascript:${RUN})`,
  `[x](JaVaScRiPt:${RUN})`,
  `[x](java\tscript:${RUN})`,
  `[x](&#106;avascript:${RUN})`,
  `[x](data:text/html;base64,PHNjcmlwdD5wYXJlbnQuaGFja2VkPTE8L3NjcmlwdD4=)`,
  `[x](vbscript:msgbox)`,
  `[x](https://example.org/"onmouseover="${RUN})`,
  `[x]: javascript:${RUN}\n\n[x]`,
  `<javascript:${RUN}>`,
  `![x](javascript:${RUN})`,
  `![x" onerror="${RUN}](a.png)`,
  `![x](data:image/svg+xml,${encodeURIComponent(SVG)})`,
  `![out](https://127.0.0.1:1/tracker.png)`,
  `![plan](evil.svg) ![[evil.svg]]`,
  `[[<img src=x onerror=${RUN}>|<b onclick=${RUN}>x</b>]]`,
  `[["><script>${RUN}</script>]]`,
  `#<img/src=x/onerror=${RUN}>`,
  `---\ntitle: "</pre><script>${RUN}</script>"\ntags: [<img src=x onerror=${RUN}>]\n---\nbody`,
  `\`\`\`"><script>${RUN}</script>\n</code></pre><script>${RUN}</script>\n\`\`\``,
  `| <img src=x onerror=${RUN}> | b |\n|--:|:-:|\n| <script>${RUN}</script> | 2 |`,
  `$$<img src=x onerror=${RUN}>$$\n\n\`\`\`mermaid\ngraph TD; A["<img src=x onerror=${RUN}>"]\n\`\`\``,
  `<a href="#/note/x" onclick="${RUN}" style="position:fixed;inset:0">x</a>`,
  `{{constructor.constructor('${RUN}')()}} \${${RUN}} {@html "<script>${RUN}</script>"}`,
];

const PATHS = [
  `<img src=x onerror=${RUN}>.md`,
  `"><script>window.hacked=1<`, // the rest of it is a folder's name
  `'onmouseover='${RUN}'.md`,
  `javascript:${RUN}.md`,
  `{{7*7}} \${7*7} <b>bold<.md`,
  `folder <svg onload=${RUN}>/note & <i>.md`,
];

async function watch(page: Page): Promise<void> {
  await page.addInitScript(() => {
    window.violations = [];
    document.addEventListener("securitypolicyviolation", (event) => {
      window.violations.push(`${event.effectiveDirective} ${event.blockedURI} ${event.sample}`);
    });
  });
  page.on("dialog", (dialog) => {
    throw new Error(`a script asked: ${dialog.message()}`);
  });
}

async function expectHarmless(page: Page, what: string): Promise<void> {
  const { hacked, violations } = await page.evaluate(() => ({ hacked: window.hacked, violations: window.violations }));
  expect(hacked, `ran: ${what}`).toBeUndefined();
  expect(violations, `had to be stopped: ${what}`).toEqual([]);
}

test("no text, title, path, link, picture or front matter runs a script, or even tries to", async ({
  page,
  server,
  folder,
}) => {
  await folder.write("evil.svg", SVG);
  await folder.write("evil.png", SVG);
  const texts = TEXTS.map((text, index) => [`note:texts/${String(index).padStart(2, "0")}.md`, text] as const);
  const paths = PATHS.map((path) => [`note:${path}${path.endsWith(".md") ? "" : "/x.md"}`, `# ${path}\n`] as const);
  await server.seed([...texts, ...paths]);
  await watch(page);
  await openApp(page);
  await page.evaluate(() => localStorage.setItem("tidenote-mode", "split"));
  for (const [key, text] of [...texts, ...paths]) {
    const path = key.slice("note:".length);
    await page.goto(`/#/note/${path.split("/").map(encodeURIComponent).join("/")}`);
    const preview = page.getByRole("region", { name: "Preview" });
    await expect(preview.locator("article > *").first()).toBeAttached();
    await expect(page.locator("h1").first()).toHaveText(path.slice(path.lastIndexOf("/") + 1).replace(/\.md$/, ""));
    // Whatever can be clicked is clicked; what leads out of the app has no way there.
    await preview
      .locator('a[href^="#"], a:not([target])')
      .evaluateAll((links: HTMLElement[]) => links.forEach((link) => link.click()));
    await expectHarmless(page, text);
  }
  for (const address of [
    "/#/notes",
    "/#/search?q=<img src=x onerror=alert(1)>",
    "/#/search?q=hacked",
    "/#/note/evil.svg",
    "/#/conflicts",
  ]) {
    await page.goto(address);
    await expect(page.locator("h1").first()).toBeVisible();
    await expectHarmless(page, address);
  }
  await page.keyboard.press("Control+k");
  await page.keyboard.type("onerror");
  await expect(page.getByRole("option").first()).toBeVisible();
  await expectHarmless(page, "quick open");
  expect(await server.metric("tidenote_csp_reports_total")).toBe(0);
});

test("the policy stands, and a script that got in would not run", async ({ page, request, server }) => {
  const policy = (await request.get("/")).headers()["content-security-policy"] ?? "";
  expect(policy).toContain("default-src 'none'");
  expect(policy).not.toContain("unsafe");
  await watch(page);
  await openApp(page);
  await page.evaluate(() => {
    const script = document.createElement("script");
    script.textContent = "window.hacked = 'yes'";
    document.body.append(script);
  });
  expect(await page.evaluate(() => [window.hacked, window.violations.length])).toEqual([undefined, 1]);
  await expect.poll(() => server.metric("tidenote_csp_reports_total")).toBe(1);
});

test("what a server sends against the protocol's rules is named, and the rest goes on", async ({ page }) => {
  const bad = { key: "note:../out.md", value: "x", timestamp: 1, device_id: "other", base: [] };
  await page.routeWebSocket("**/ws/sync*", (socket) => {
    socket.connectToServer().onMessage((text) => {
      const message = JSON.parse(String(text)) as { type: string; changes?: unknown[] };
      if (message.type === "sync_ack") message.changes = [...(message.changes ?? []), bad];
      socket.send(JSON.stringify(message));
    });
  });
  await openApp(page);
  await page
    .getByRole("button", { name: /Connection details: Connected. 1 note is not taken from the server/ })
    .click();
  await expect(page.getByRole("dialog").getByText("note:../out.md: ")).toBeVisible();
});
