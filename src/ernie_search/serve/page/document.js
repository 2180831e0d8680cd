// The document view: a passage in its place, among its document's other passages.
import { marked, points } from "/marks.js";
import { $, call, el } from "/parts.js";

const SIZE = 21;
/** The view in use: the passage's id and its hit (if known), the places of what is shown, the document's length. */
let view = null, running = null;

/** The id of the passage in view, or null. */
export const current = () => view?.id ?? null;
export const whenClosed = (action) => $("document").addEventListener("close", () => ((view = null), running?.abort(), action()));
export const close = () => $("document").open && $("document").close();

/** Show a passage in its place; ``hit`` tells what matched, ``most`` is the service's limit. */
export async function open(id, hit, most) {
  view = { id, hit, size: Math.min(SIZE, most), first: 0, stop: 0, total: 0 };
  $("documentTitle").textContent = hit?.title || id;
  $("documentPath").textContent = $("documentPlace").textContent = "";
  $("earlier").hidden = $("later").hidden = $("copyPath").hidden = true;
  $("documentParts").replaceChildren(el("li", "ghost"), el("li", "ghost"));
  if (!$("document").open) $("document").showModal();
  const part = await get({ id, count: view.size });
  if (!part) return $("document").open && $("documentParts").replaceChildren();
  Object.assign(view, { document: part.id, first: part.first, stop: part.first + part.passages.length, total: part.total });
  head(part);
  $("documentParts").replaceChildren(...part.passages.map(item));
  arrange();
  const here = document.querySelector(".part.here");
  here?.focus({ preventScroll: true });
  here?.scrollIntoView({ block: "center" });
}

/** Mark what the hit matched, where the view was opened before the hit was there. */
export function mark(hit) {
  if (!hit || !view || view.hit || view.id !== hit.passage) return;
  view.hit = hit;
  document.querySelector(".part.here .text")?.replaceChildren(marked(hit.title, hit.text, hit.matches ?? [])[1]);
}

/** A part of the document; null if there is none, or if another view is in use by now. */
async function get(values) {
  running?.abort();
  const mine = (running = new AbortController());
  tell("");
  try {
    const part = await call(`/v1/documents?${new URLSearchParams(values)}`, undefined, mine.signal);
    return running === mine && view ? part : null; // closed meanwhile, or another one is in view
  } catch (error) {
    if (error.name !== "AbortError" && running === mine) tell(error.message);
    return null;
  }
}

function tell(message) {
  $("documentStatus").textContent = message;
  $("documentStatus").classList.toggle("bad", Boolean(message));
}

function head(part) {
  const one = part.passages.find((passage) => passage.id === view.id) ?? part.passages[0];
  if (!one) return;
  const below = one.fields.heading && part.path !== null ? ` > ${one.fields.heading}` : "";
  const title = below && one.title.endsWith(below) ? one.title.slice(0, -below.length) : one.title;
  $("documentTitle").textContent = title || part.id;
  $("documentPath").textContent = part.path ?? (part.id === title ? "" : part.id);
  $("copyPath").hidden = part.path === null;
  $("documentPlace").textContent = part.place === null ? `${part.total} passages` : `passage ${part.place + 1} of ${part.total}`;
}

function item(passage) {
  const made = el("li", "part"), text = el("p", "text"), { fields } = passage, here = passage.id === view.id;
  made.dataset.heading = view.document !== passage.id && typeof fields.heading === "string" ? fields.heading : "";
  made.passage = passage;
  text.dir = "auto";
  if (here) {
    made.classList.add("here");
    made.tabIndex = -1;
    made.setAttribute("aria-current", "true");
  }
  const at = typeof fields.page === "number" ? `page ${fields.page}` : typeof fields.line === "number" ? `line ${fields.line}` : "";
  if (at) made.append(el("span", "at", at));
  text.append(here && view.hit ? marked(view.hit.title, view.hit.text, view.hit.matches ?? [])[1] : passage.text);
  made.append(text);
  return made;
}

/** Headings where they change, words that a passage shares with the one before it in pale, buttons for the rest. */
function arrange() {
  const parts = [...$("documentParts").children];
  parts.forEach((one, row) => {
    one.querySelector("h3")?.remove();
    const { heading } = one.dataset;
    if (heading && heading !== parts[row - 1]?.dataset.heading) {
      const title = el("h3", "", heading);
      title.dir = "auto";
      one.prepend(title);
    }
    const before = parts[row - 1]?.passage, { parent, start, text } = one.passage;
    if (!before || parent === null || before.parent !== parent || one.classList.contains("here")) return;
    const shared = before.start + points(before.text).length - start;
    if (shared <= 0) return;
    const all = points(text), again = el("span", "again", all.slice(0, shared).join(""));
    again.title = "also in the passage before";
    one.querySelector(".text").replaceChildren(again, all.slice(shared).join(""));
  });
  $("earlier").hidden = view.first <= 0;
  $("later").hidden = view.stop >= view.total;
}

$("earlier").addEventListener("click", async () => {
  const first = Math.max(0, view.first - view.size);
  const part = await get({ id: view.document, first, count: view.first - first });
  if (!part) return;
  const sheet = $("documentBody"), below = sheet.scrollHeight - sheet.scrollTop;
  $("documentParts").prepend(...part.passages.map(item));
  view.first = first;
  arrange();
  sheet.scrollTop = sheet.scrollHeight - below;
});
$("later").addEventListener("click", async () => {
  const part = await get({ id: view.document, first: view.stop, count: view.size });
  if (!part) return;
  $("documentParts").append(...part.passages.map(item));
  view.stop += part.passages.length;
  arrange();
  if (!part.passages.length) $("later").hidden = true;
});
$("closeDocument").addEventListener("click", close);
$("document").addEventListener("click", (event) => event.target === $("document") && close()); // beside the sheet
$("copyPath").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText($("documentPath").textContent);
    $("copyPath").textContent = "Copied";
    setTimeout(() => ($("copyPath").textContent = "Copy path"), 1500);
  } catch {
    tell("Copying is not allowed here; select the path and copy it.");
  }
});
