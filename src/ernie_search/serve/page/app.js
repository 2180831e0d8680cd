// The page: sends a question to the API in several modes, and shows the hits side by side.
import { marked } from "/marks.js";

const $ = (id) => document.getElementById(id);
const el = (tag, className, text) => {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
};
const NAMES = {
  words: "Words (BM25)", dense: "Dense", late: "Late interaction", hybrid: "Hybrid", cross: "Cross-encoder", bm25: "BM25",
};
const ORDER = ["hybrid", "late", "dense", "words"], TICKED = ["hybrid", "late", "dense"];
const FILE = ["path", "heading", "line", "page"];
const SIGNS = { str: ["=", "!="], bool: ["=", "!="], int: ["=", "!=", ">=", "<="], float: [">=", "<=", "=", "!="] };
let info = null, running = null, picked = null;

// Requests

async function call(path, body, signal) {
  const headers = {};
  const key = sessionStorage.getItem("key");
  if (key) headers.Authorization = `Bearer ${key}`;
  if (body) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, { method: body ? "POST" : "GET", headers, signal, body: body && JSON.stringify(body) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The service does not answer.");
  }
  const answer = await response.json().catch(() => ({}));
  if (response.ok) return answer;
  if (response.status === 401) lock(true);
  const said = response.status === 401 && !key ? "" : answer.error?.message ?? `The service answered ${response.status}.`;
  throw Object.assign(new Error(said), { status: response.status });
}

/** Show only the form for the key, since nothing works without it. */
function lock(on) {
  document.body.classList.toggle("locked", on);
  $("keyForm").hidden = !on;
  if (on) $("key").focus();
}

async function start() {
  try {
    info = await call("/v1/info");
  } catch (error) {
    say(error.message, true);
    return;
  }
  lock(false);
  $("about").textContent = `${info.passages.toLocaleString("en")} passages · ${info.model}`;
  $("modes").querySelectorAll("label").forEach((one) => one.remove());
  for (const mode of [...new Set([info.default_mode, ...ORDER, ...info.modes])]) {
    if (!info.modes.includes(mode)) continue;
    const label = el("label"), box = el("input");
    Object.assign(box, { type: "checkbox", name: "mode", value: mode, checked: TICKED.includes(mode) || mode === info.default_mode });
    label.append(box, NAMES[mode] ?? mode);
    $("modes").append(label);
  }
  const most = info.limits.explained;
  for (const option of $("k").options) option.hidden = option.disabled = Number(option.value) > most;
  $("addFilter").hidden = !Object.keys(info.fields).length;
  $("question").maxLength = info.limits.question_characters;
  fromAddress($("question").value);
}

const modes = () => [...$("modes").querySelectorAll("input:checked")].map((one) => one.value);

async function ask() {
  running?.abort();
  const mine = (running = new AbortController());
  const query = $("question").value.trim(), chosen = modes();
  if (!query || !chosen.length) {
    $("asked").hidden = true;
    $("results").replaceChildren();
    say(query ? "Choose a mode." : "");
    if (!query) welcome();
    return;
  }
  const filter = filterText();
  say("Searching…");
  $("results").setAttribute("aria-busy", "true");
  $("asked").hidden = true;
  const columns = chosen.map(column);
  $("results").replaceChildren(...columns.map((one) => one.node));
  const answers = await Promise.all(
    chosen.map(async (mode, place) => {
      try {
        const body = { query, mode, k: Number($("k").value), explain: true };
        if (filter) body.filter = filter;
        const answer = await call("/v1/search", body, mine.signal);
        columns[place].show(answer);
        return answer;
      } catch (error) {
        return error;
      }
    }),
  );
  if (running !== mine) return;
  $("results").removeAttribute("aria-busy");
  const good = answers.filter((one) => one.hits);
  if (!good.length) say(answers[0].message, true);
  // An invalid question or filter is refused in every mode; the message is shown once.
  const refused = [400, 401, 422].includes(answers[0].status) && answers.every((one) => one.message === answers[0].message);
  if (refused) return $("results").replaceChildren();
  answers.forEach((one, place) => one.hits || columns[place].fail(one.message));
  if (!good.length) return;
  const found = Math.max(...good.map((one) => one.hits.length));
  if (!found) {
    $("results").replaceChildren(empty("Nothing found", filter ? "No passage meets the filter." : "The index has no passage for this question."));
    return say("No hits.");
  }
  say(`${found} ${found === 1 ? "hit" : "hits"} in ${good.length === 1 ? "one mode" : `${good.length} modes`}.`);
  compare(columns, chosen, answers);
  showTokens(good.find((one) => one.question_tokens?.length)?.question_tokens ?? []);
  $("share").hidden = false;
}

function say(text, bad = false) {
  $("status").textContent = text;
  $("status").classList.toggle("bad", bad);
}

function empty(head, text) {
  const box = el("div", "empty");
  box.append(el("strong", "", head), text);
  return box;
}

function welcome() {
  $("results").replaceChildren(
    empty("Ask a question", "Each mode has a column of its own, so that you can see what late interaction changes. Words are shaded by how strongly they match; point at one to see which tokens of the question it matches."),
  );
}

// Results

function column(mode) {
  const node = el("section", "column"), head = el("header"), list = el("ol"), times = el("span", "times");
  node.setAttribute("aria-label", NAMES[mode] ?? mode);
  head.append(el("h2", "", NAMES[mode] ?? mode), times);
  for (let i = 0; i < 3; i++) list.append(el("li", "ghost"));
  list.querySelectorAll("li").forEach((one) => one.setAttribute("aria-hidden", "true"));
  node.append(head, list);
  return {
    node,
    list,
    show(answer) {
      const spent = answer.milliseconds;
      const parts = ["encode", "wait", "rank", "explain"]
        .filter((part) => spent[part] >= 0.05)
        .map((part) => `${part} ${spent[part].toFixed(1)}`);
      times.textContent = `${spent.total.toFixed(1)} ms: ${parts.join(" · ")}`;
      list.replaceChildren(...answer.hits.map(card));
    },
    fail(message) {
      const box = el("p", "failed", message);
      list.replaceWith(box);
    },
  };
}

function card(hit) {
  const item = el("li", "hit cut"), head = el("div", "head"), title = el("h3"), text = el("p", "text");
  item.tabIndex = -1;
  item.dataset.id = hit.id;
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
  requestAnimationFrame(() => {
    const long = [title, text].filter((one) => one.scrollHeight > one.clientHeight + 2);
    if (!long.length) return item.classList.remove("cut");
    const hidden = (one, part) => one.offsetTop - part.offsetTop >= part.clientHeight - 4;
    const below = long.flatMap((part) => [...part.querySelectorAll("mark")].filter((one) => hidden(one, part))).length;
    const closed = below ? `Show all, ${below} more ${below === 1 ? "match" : "matches"}` : "Show all";
    const more = el("button", "more", closed);
    more.type = "button";
    more.setAttribute("aria-expanded", "false");
    more.onclick = () => {
      const cut = item.classList.toggle("cut");
      more.textContent = cut ? closed : "Show less";
      more.setAttribute("aria-expanded", String(!cut));
    };
    text.after(more);
  });
  return item;
}

/** Path and line or page of a passage from a file; its heading is the end of its title. */
function placeOf(hit) {
  const { path, line, page } = hit.fields;
  if (typeof path !== "string" || !path || !hit.passage?.startsWith(`${path}#`)) return null;
  const box = el("p", "place"), where = el("bdi", "path", path);
  box.append(where);
  if (page || line) box.append(el("span", "at", page ? `page ${page}` : `line ${line}`));
  return box;
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

/** Show how each passage moved compared to the first column. */
function compare(columns, chosen, answers) {
  const first = answers[0];
  if (!first.hits || answers.length < 2) return;
  const places = new Map(first.hits.map((hit) => [hit.id, hit.rank]));
  const name = (NAMES[chosen[0]] ?? chosen[0]).toLowerCase();
  answers.slice(1).forEach((answer, at) => {
    (answer.hits ?? []).forEach((hit, row) => {
      const move = columns[at + 1].list.children[row].querySelector(".move");
      const before = places.get(hit.id);
      const by = before === undefined ? 0 : before - hit.rank;
      move.textContent = before === undefined ? "new" : by > 0 ? `▲ ${by}` : by < 0 ? `▼ ${-by}` : "";
      move.classList.add(before === undefined || by > 0 ? "up" : "down");
      move.title = before === undefined ? `not among the ${name} hits` : `rank ${before} in ${name}`;
      if (move.textContent) move.setAttribute("aria-label", move.title);
    });
  });
}

function showTokens(tokens) {
  picked = null;
  const box = $("asked");
  box.hidden = !tokens.length;
  const seen = new Set();
  box.replaceChildren(el("span", "lead", "Tokens of the question:"));
  tokens.forEach((token, number) => {
    const known = `${token.start}:${token.stop}`;
    if (!/[\p{L}\p{N}]/u.test(token.text)) return;
    const same = [...box.querySelectorAll(".token")].find((one) => one.dataset.span === known);
    if (seen.has(known)) return void (same.dataset.tokens += ` ${number}`);
    seen.add(known);
    const button = el("button", "token", token.text);
    button.append(el("small", "", token.weight.toFixed(1)));
    button.title = `counts ${token.weight.toFixed(2)} in late interaction (1 on average)`;
    button.dir = "auto";
    Object.assign(button.dataset, { tokens: String(number), span: known });
    button.type = "button";
    button.setAttribute("aria-pressed", "false");
    button.onclick = () => pick(button);
    box.append(button);
  });
}

function pick(button) {
  const on = button && button.getAttribute("aria-pressed") !== "true";
  document.querySelectorAll(".token").forEach((one) => one.setAttribute("aria-pressed", "false"));
  button?.setAttribute("aria-pressed", String(on));
  picked = on ? button.dataset.tokens.split(" ") : null;
  $("results").classList.toggle("dim", Boolean(picked));
  near(picked);
}

/** Outline the words that these tokens of the question picked. */
function near(tokens) {
  const has = (one) => tokens?.some((token) => one.dataset.tokens.split(" ").includes(token)) ?? false;
  document.querySelectorAll("mark").forEach((one) => one.classList.toggle("near", has(one)));
}

document.addEventListener("pointerover", (event) => {
  const mark = event.target.closest?.("mark");
  const tip = $("tip");
  if (!mark) {
    tip.hidden = true;
    document.querySelectorAll(".token.near").forEach((one) => one.classList.remove("near"));
    return;
  }
  tip.replaceChildren(...mark.dataset.tip.split("\n").flatMap((one, place) => [place ? " · " : "", el("bdi", "", one)]));
  tip.hidden = false;
  const at = mark.getBoundingClientRect(), own = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(8, Math.min(at.left, innerWidth - own.width - 8))}px`;
  tip.style.top = `${at.top > own.height + 10 ? at.top - own.height - 6 : at.bottom + 6}px`;
  const tokens = mark.dataset.tokens.split(" ");
  document.querySelectorAll(".token").forEach((one) =>
    one.classList.toggle("near", one.dataset.tokens.split(" ").some((token) => tokens.includes(token))));
});
addEventListener("scroll", () => ($("tip").hidden = true), { passive: true });

// Filters

function addFilter(field, sign, value) {
  const row = el("span", "filter"), names = Object.keys(info.fields);
  const fields = choice("Field", names, field ?? names[0]), signs = choice("Comparison", [], ""), box = el("input");
  box.setAttribute("aria-label", "Value");
  box.dir = "auto";
  box.value = value ?? "";
  const drop = el("button", "quiet", "×");
  drop.type = "button";
  drop.setAttribute("aria-label", "Remove this filter");
  drop.onclick = () => (row.remove(), submit());
  const fit = () => {
    signs.replaceChildren(...SIGNS[info.fields[fields.value]].map((one) => new Option(one, one)));
    box.placeholder = { str: "text", bool: "true or false" }[info.fields[fields.value]] ?? "number";
  };
  fields.onchange = fit;
  fit();
  if (sign) signs.value = sign;
  row.append(fields, signs, box, drop);
  $("filters").append(row);
  return box;
}

function choice(label, options, value) {
  const made = el("select");
  made.setAttribute("aria-label", label);
  made.append(...options.map((one) => new Option(one, one)));
  if (options.length) made.value = value;
  return made;
}

const filterRows = () =>
  [...$("filters").children]
    .map((row) => [row.children[0].value, row.children[1].value, row.children[2].value.trim()])
    .filter(([, , value]) => value !== "");

function filterText() {
  return filterRows()
    .map(([field, sign, value]) =>
      info.fields[field] === "str" ? `${field} ${sign} "${value.replace(/[\\"]/g, "\\$&")}"` : `${field} ${sign} ${value}`)
    .join(" and ");
}

// The address has the whole state, so that it can be shared

function toAddress() {
  const values = new URLSearchParams({ q: $("question").value.trim(), k: $("k").value, mode: modes().join(",") });
  for (const row of filterRows()) values.append("f", JSON.stringify(row));
  return `${location.pathname}?${values}`;
}

/** Restore the state from the address; if it has no question, keep what was typed meanwhile. */
function fromAddress(typed = "") {
  const values = new URLSearchParams(location.search);
  $("question").value = values.get("q") ?? typed;
  if ([...$("k").options].some((one) => one.value === values.get("k") && !one.disabled)) $("k").value = values.get("k");
  if (values.has("mode")) {
    const wanted = values.get("mode").split(",");
    $("modes").querySelectorAll("input").forEach((one) => (one.checked = wanted.includes(one.value)));
  }
  $("filters").replaceChildren();
  for (const text of values.getAll("f")) {
    try {
      const [field, sign, value] = JSON.parse(text);
      if (Object.hasOwn(info.fields, field)) addFilter(field, sign, value);
    } catch { /* not one of ours */ }
  }
  document.title = $("question").value ? `${$("question").value} · ERNIE-Search` : "ERNIE-Search";
  ask();
}

function submit() {
  if (!info) return start();
  const address = toAddress();
  if (address !== location.pathname + location.search) history.pushState(null, "", address);
  document.title = $("question").value ? `${$("question").value} · ERNIE-Search` : "ERNIE-Search";
  ask();
}

// Keyboard: every hit can be reached without a pointer

function step(rows, columns) {
  const lists = [...document.querySelectorAll(".column ol")].filter((one) => one.querySelector(".hit"));
  if (!lists.length) return;
  const here = document.activeElement.closest?.(".hit");
  let at = here ? lists.indexOf(here.parentElement) : 0, row = here ? [...here.parentElement.children].indexOf(here) : -1;
  at = Math.max(0, Math.min(at + columns, lists.length - 1));
  row = Math.max(0, Math.min(row + rows, lists[at].children.length - 1));
  const goal = lists[at].children[row];
  goal.focus();
  document.querySelectorAll(".hit").forEach((one) => one.classList.toggle("same", one !== goal && one.dataset.id === goal.dataset.id));
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") return pick(null);
  if (event.target.matches("input, select, textarea")) return;
  const steps = { j: [1, 0], k: [-1, 0], l: [0, 1], h: [0, -1] }[event.key];
  if (steps) step(...steps);
  else if (event.key === "/") $("question").select();
  else return;
  event.preventDefault();
});

$("form").addEventListener("submit", (event) => (event.preventDefault(), submit()));
$("modes").addEventListener("change", submit);
$("k").addEventListener("change", submit);
$("addFilter").addEventListener("click", () => addFilter().focus());
$("keyForm").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("key", $("key").value.trim());
  $("key").value = "";
  start();
});
$("share").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText(location.href);
    say("Link copied.");
  } catch {
    say("Copying is not allowed here; copy the address instead.");
  }
});
addEventListener("popstate", () => info && fromAddress());
start();
