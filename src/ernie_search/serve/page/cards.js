// The results: a column for each mode, a card for each hit, and what changed between columns.
import { marked } from "/marks.js";
import { button, el, nameOf } from "/parts.js";

const FILE = ["path", "heading", "line", "page"];
const hits = new WeakMap();

/** The hit that a card shows. */
export const hitOf = (card) => hits.get(card);

/** A column for a mode's hits; until they are there, or while they are asked for anew, ``wait`` says so. */
export function column(mode) {
  const node = el("section", "column"), head = el("header"), list = el("ol"), failed = el("p", "failed");
  const times = el("span", "times"), shared = el("span", "shared");
  node.setAttribute("aria-label", nameOf(mode));
  head.append(el("h2", "", nameOf(mode)), shared, times);
  for (let i = 0; i < 3; i++) list.append(el("li", "ghost"));
  list.querySelectorAll("li").forEach((one) => one.setAttribute("aria-hidden", "true"));
  failed.hidden = true;
  node.append(head, list, failed);
  const told = (message) => {
    failed.textContent = message;
    failed.hidden = !message;
    list.hidden = Boolean(message);
    node.classList.remove("waiting");
  };
  return {
    node,
    list,
    shared,
    wait: () => node.classList.add("waiting"),
    show(answer) {
      const spent = answer.milliseconds;
      const parts = ["encode", "wait", "rank", "explain"]
        .filter((part) => spent[part] >= 0.05)
        .map((part) => `${part} ${spent[part].toFixed(1)}`);
      times.textContent = `${spent.total.toFixed(1)} ms: ${parts.join(" · ")}`;
      shared.textContent = "";
      list.replaceChildren(...answer.hits.map(card));
      told("");
    },
    fail(message) {
      times.textContent = shared.textContent = "";
      list.replaceChildren();
      told(message);
    },
  };
}

function card(hit) {
  const item = el("li", "hit cut"), head = el("div", "head"), title = el("h3"), text = el("p", "text");
  item.tabIndex = -1;
  item.dataset.id = hit.id;
  hits.set(item, hit);
  const [titlePart, textPart] = marked(hit.title, hit.text, hit.matches ?? []);
  if (hit.title) title.append(titlePart);
  else title.textContent = hit.id;
  text.append(textPart);
  // Right-to-left text does not change the direction of its surroundings.
  title.dir = text.dir = "auto";
  head.append(el("span", "rank", hit.rank), title, el("span", "move"));
  const scores = [["score", hit.score], ...Object.entries(hit.stages)].map(([name, value]) => [name, value.toFixed(4)]);
  const place = placeOf(hit);
  const fields = Object.entries(hit.fields).filter(([name, value]) => value !== null && value !== "" && !(place && FILE.includes(name)));
  item.append(head);
  if (place) item.append(place);
  item.append(text, facts("Scores", "scores", scores));
  if (fields.length) item.append(facts("Fields", "fields", fields.map(([name, value]) => [name, cutShort(plain(value))])));
  const acts = el("div", "acts");
  acts.append(button("open", place || hit.parent !== null ? "Show in document" : "Open passage"));
  item.append(acts);
  requestAnimationFrame(() => fit(item));
  return item;
}

/** Cut a long card, with a button for the rest; one that is not in sight is cut when it comes into sight. */
export function fit(item) {
  if (!item.offsetParent || item.dataset.fitted) return;
  item.dataset.fitted = "yes";
  const title = item.querySelector("h3"), text = item.querySelector(".text");
  const long = [title, text].filter((one) => one.scrollHeight > one.clientHeight + 2);
  if (!long.length) return item.classList.remove("cut");
  const hidden = (one, part) => one.offsetTop - part.offsetTop >= part.clientHeight - 4;
  const below = long.flatMap((part) => [...part.querySelectorAll("mark")].filter((one) => hidden(one, part))).length;
  const closed = below ? `Show all, ${below} more ${below === 1 ? "match" : "matches"}` : "Show all";
  const more = button("more", closed, () => {
    const cut = item.classList.toggle("cut");
    more.textContent = cut ? closed : "Show less";
    more.setAttribute("aria-expanded", String(!cut));
  });
  more.setAttribute("aria-expanded", "false");
  item.querySelector(".acts").prepend(more);
}

/** Path and line or page of a passage from a file; its heading is the end of its title. */
function placeOf(hit) {
  const { path, line, page } = hit.fields, start = hit.passage.slice(0, Math.max(0, hit.passage.lastIndexOf("#")));
  if (typeof path !== "string" || !path || (path !== start && path !== decoded(start))) return null;
  const box = el("p", "place");
  box.append(el("bdi", "path", path));
  if (page || line) box.append(el("span", "at", page ? `page ${page}` : `line ${line}`));
  return box;
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Names and values with a heading of their own, since a passage may have a field named "score". */
function facts(heading, className, pairs) {
  const group = el("div", `facts ${className}`), list = el("dl");
  group.append(el("span", "", heading), list);
  for (const [name, value] of pairs) {
    const box = el("div"), term = el("dt", "", name), given = el("dd", "", value);
    term.dir = given.dir = "auto";
    box.append(term, given);
    list.append(box);
  }
  return group;
}

/** A number with six digits, and all digits before the decimal point. */
function digits(number) {
  if (typeof number !== "number" || Number.isInteger(number)) return number;
  const before = Math.abs(number) < 1 ? 0 : Math.floor(Math.log10(Math.abs(number))) + 1;
  return Number(number.toPrecision(Math.min(Math.max(6, before), 21)));
}

const plain = (value) =>
  typeof value === "object" ? JSON.stringify(value, (_, one) => digits(one)) : String(digits(value));
const cutShort = (text) => (text.length > 80 ? `${Array.from(text).slice(0, 79).join("")}…` : text);

/** Show which passages the columns share, and how each moved compared to the first column. */
export function compare(columns, chosen, answers) {
  const first = answers[0];
  if (!first.hits || answers.length < 2) return;
  const places = new Map(first.hits.map((hit) => [hit.id, hit.rank]));
  const name = nameOf(chosen[0]).toLowerCase();
  const found = answers.map((one) => new Set(one.hits?.map((hit) => hit.id)));
  answers.forEach((answer, at) => {
    (answer.hits ?? []).forEach((hit, row) => {
      const item = columns[at].list.children[row], move = item.querySelector(".move");
      item.classList.toggle("common", found.every((ids) => ids.has(hit.id)));
      const before = places.get(hit.id), by = before - hit.rank;
      const only = !found.some((ids, other) => other !== at && ids.has(hit.id));
      if (!at) move.textContent = only ? "only here" : "";
      else move.textContent = only ? "only here" : before === undefined ? "new" : by > 0 ? `▲ ${by}` : by < 0 ? `▼ ${-by}` : "";
      if (at) move.title = before === undefined ? `not among the ${name} hits` : `rank ${before} in ${name}`;
      if (at) move.classList.add(before === undefined || by > 0 ? "up" : "down");
      if (at && move.textContent) move.setAttribute("aria-label", move.title);
    });
    if (!at || !answer.hits) return;
    const both = answer.hits.filter((hit) => found[0].has(hit.id)).length;
    columns[at].shared.textContent = `${both} of ${answer.hits.length} also in ${name}`;
  });
}
