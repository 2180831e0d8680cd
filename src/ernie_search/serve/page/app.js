// The page: sends a question to the API in several modes, and shows the hits side by side.
import { column, compare, fit, hitOf } from "/cards.js";
import * as reading from "/document.js";
import { $, button, call, el, isReady, nameOf } from "/parts.js";

const ORDER = ["hybrid", "late", "dense", "words"], TICKED = ["hybrid", "late", "dense"];
const SIGNS = { str: ["=", "!="], bool: ["=", "!="], int: ["=", "!=", ">=", "<="], float: [">=", "<=", "=", "!="] };
/** Milliseconds without a key until what was typed is searched; a slow service is given longer. */
const PAUSE = 250, LONGEST_PAUSE = 1000;
/** Milliseconds after which a search is said to be under way, and until a lost service is looked for again. */
const PATIENCE = 300, RETRY = 1000, LONGEST_RETRY = 15000;
let info = null, running = null, picked = null;
/** The columns in sight and the modes they are of; the address that was asked last. */
let shown = { chosen: [], columns: [] }, asked = "", tab = "";
let typing = 0, recovery = 0, tries = 0, pause = PAUSE;
/** Whether the entry of the history in use holds what is being typed, which the next pause replaces. */
let draft = true;

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
    if (error.status === undefined || error.status === 503) recover(start);
    return;
  }
  tries = 0;
  lock(false);
  about(info);
  $("modes").querySelectorAll("label").forEach((one) => one.remove());
  for (const mode of [...new Set([info.default_mode, ...ORDER, ...info.modes])]) {
    if (!info.modes.includes(mode)) continue;
    const label = el("label"), box = el("input");
    Object.assign(box, { type: "checkbox", name: "mode", value: mode, checked: TICKED.includes(mode) || mode === info.default_mode });
    label.append(box, nameOf(mode));
    $("modes").append(label);
  }
  const most = Math.min(info.limits.explained, info.limits.k);
  if (Number($("k").options[0].value) > most) $("k").add(new Option(most, most), 0);
  for (const option of $("k").options) option.hidden = option.disabled = Number(option.value) > most;
  const allowed = [...$("k").options].filter((option) => !option.disabled);
  if (Number($("k").value) > most) $("k").value = allowed.at(-1).value;
  $("addFilter").hidden = !Object.keys(info.fields).length;
  $("question").maxLength = info.limits.question_characters;
  fromAddress($("question").value);
}

function about(found) {
  info = found;
  $("about").textContent = `${info.passages.toLocaleString("en")} passages · ${info.model}`;
}

const modes = () => [...$("modes").querySelectorAll("input:checked")].map((one) => one.value);

/** Show the hits of what is in the form; what was asked before is given up. */
async function ask() {
  clearTimeout(typing);
  clearTimeout(recovery);
  running?.abort();
  const mine = (running = new AbortController());
  const query = $("question").value.trim(), chosen = modes(), results = $("results");
  asked = toAddress();
  if (!query || !chosen.length) {
    clear();
    say(query ? "Choose a mode." : "");
    if (!query) welcome();
    return;
  }
  const filter = filterText(), began = performance.now();
  const slow = setTimeout(() => say("Searching…"), PATIENCE);
  // Hits stay in sight until the next ones replace them, so that nothing flickers under the eyes of who types.
  const again = shown.chosen.join() === chosen.join() && results.contains(shown.columns[0]?.node);
  if (!again) layOut(chosen);
  const { columns } = shown;
  columns.forEach((one) => one.wait());
  results.setAttribute("aria-busy", "true");
  const answers = await Promise.all(
    chosen.map(async (mode, place) => {
      try {
        const body = { query, mode, k: Number($("k").value), explain: true };
        if (filter) body.filter = filter;
        const answer = await call("/v1/search", body, mine.signal);
        if (running === mine) columns[place].show(answer);
        return answer;
      } catch (error) {
        return error;
      }
    }),
  );
  clearTimeout(slow);
  if (running !== mine) return;
  results.removeAttribute("aria-busy");
  const good = answers.filter((one) => one.hits);
  if (!good.length) return failed(answers, again);
  tries = 0;
  pause = Math.min(Math.max(PAUSE, performance.now() - began), LONGEST_PAUSE);
  answers.forEach((one, place) => one.hits || columns[place].fail(one.message));
  if (good[0].index_version !== info.index_version) call("/v1/info").then(about, () => {});
  const found = Math.max(...good.map((one) => one.hits.length));
  if (!found) {
    clear();
    results.replaceChildren(empty("Nothing found", filter ? "No passage meets the filter." : "The index has no passage for this question."));
    return say("No hits.");
  }
  say(`${found} ${found === 1 ? "hit" : "hits"} in ${good.length === 1 ? "one mode" : `${good.length} modes`}.`);
  compare(columns, chosen, answers);
  showTokens(good.find((one) => one.question_tokens?.length)?.question_tokens ?? []);
  $("share").hidden = false;
  reading.mark(found && good.flatMap((one) => one.hits).find((hit) => hit.passage === reading.current()));
}

/** Nothing was answered: one line says why. A lost service is looked for, and asked again once it is back. */
function failed(answers, again) {
  const same = answers.every((one) => one.message === answers[0].message), { status } = answers[0];
  say(answers[0].message, true);
  // An invalid question or filter has no hits; else those in sight stay, pale, since they are of the question before.
  if ([400, 401, 422].includes(status) || (same && !again)) clear();
  else if (!same) answers.forEach((one, place) => shown.columns[place].fail(one.message));
  if (status === undefined || status === 503) recover(ask, status);
}

function recover(action, status) {
  const wait = Math.min(RETRY * 2 ** tries++, LONGEST_RETRY);
  const look = async () => {
    if (await isReady()) action();
    else recovery = setTimeout(look, Math.min(RETRY * 2 ** tries++, LONGEST_RETRY));
  };
  const later = () => (recovery = setTimeout(look, wait));
  if (status !== 503) return later();
  const mine = running;
  isReady().then((ready) => ready || running !== mine || later()); // it is ready: the search took too long
}

/** Empty columns for these modes, and on narrow screens a tab for each. */
function layOut(chosen) {
  shown = { chosen, columns: chosen.map(column) };
  $("asked").hidden = true;
  $("results").replaceChildren(...shown.columns.map((one) => one.node));
  $("tabs").replaceChildren(...chosen.map((mode) => Object.assign(button("", nameOf(mode), () => turnTo(mode)), { value: mode })));
  $("tabs").hidden = chosen.length < 2;
  turnTo(chosen.includes(tab) ? tab : chosen[0]);
}

function turnTo(mode) {
  tab = mode;
  shown.columns.forEach((one, place) => one.node.classList.toggle("on", shown.chosen[place] === mode));
  for (const one of $("tabs").children) one.setAttribute("aria-pressed", String(one.value === mode));
  document.querySelectorAll(".hit").forEach(fit);
}

function clear() {
  shown = { chosen: [], columns: [] };
  $("asked").hidden = $("tabs").hidden = $("share").hidden = true;
  $("results").replaceChildren();
  $("results").removeAttribute("aria-busy");
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
  draft = !values.get("q");
  entitle();
  ask();
  readWhatTheAddressNames();
}

const entitle = () => {
  const query = $("question").value.trim();
  document.title = query ? `${query} · ERNIE-Search` : "ERNIE-Search";
};

/** Search at once: a new entry of the history, unless the one in use holds what was typed on the way here. */
function submit() {
  if (!info) return start();
  toHistory();
  draft = false;
  ask();
}

function toHistory() {
  const address = toAddress();
  if (address !== withoutDocument()) history[draft ? "replaceState" : "pushState"](null, "", address);
  entitle();
}

/** Search for what was typed so far. */
function live() {
  const query = $("question").value.trim();
  if (!info || toAddress() === asked || /^[!-~]$/.test(query)) return;
  toHistory();
  draft = true;
  ask();
}

function later() {
  clearTimeout(typing);
  typing = setTimeout(live, pause);
}

// The document view

function withoutDocument() {
  const values = new URLSearchParams(location.search);
  values.delete("doc");
  return values.size ? `${location.pathname}?${values}` : location.pathname;
}

function read(hit) {
  history.pushState({ read: true }, "", `${toAddress()}&${new URLSearchParams({ doc: hit.passage })}`);
  reading.open(hit.passage, hit, info.limits.read);
}

function readWhatTheAddressNames() {
  const wanted = new URLSearchParams(location.search).get("doc");
  if (!wanted) return reading.close();
  if (wanted !== reading.current()) reading.open(wanted, null, info.limits.read);
}

reading.whenClosed(() => {
  if (!new URLSearchParams(location.search).has("doc")) return;
  if (history.state?.read) history.back();
  else history.replaceState(null, "", withoutDocument());
});

// Keyboard: every hit can be reached without a pointer

const MOVES = {
  j: [1, 0], ArrowDown: [1, 0], k: [-1, 0], ArrowUp: [-1, 0], l: [0, 1], ArrowRight: [0, 1], h: [0, -1], ArrowLeft: [0, -1],
};

function step(rows, columns) {
  const here = document.activeElement.closest?.(".hit");
  if (here && columns) {
    const at = shown.columns.findIndex((one) => one.list === here.parentElement) + columns;
    if (shown.columns[at]) turnTo(shown.chosen[at]); // where only one column is in sight
  }
  const lists = shown.columns.map((one) => one.list).filter((one) => one.querySelector(".hit") && one.offsetParent);
  if (!lists.length) return;
  let at = lists.indexOf(here?.parentElement), row = here ? [...here.parentElement.children].indexOf(here) : -1;
  if (!row && rows < 0) return $("question").focus();
  at = Math.max(0, Math.min(at + (at < 0 ? 1 : columns), lists.length - 1));
  row = Math.max(0, Math.min(row + rows, lists[at].children.length - 1));
  const goal = lists[at].children[row];
  goal.focus();
  document.querySelectorAll(".hit").forEach((one) => one.classList.toggle("same", one !== goal && one.dataset.id === goal.dataset.id));
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || document.querySelector("dialog[open]")) return;
  if (event.key === "Escape") return pick(null);
  const { target } = event, arrow = event.key.startsWith("Arrow"), inHit = target.matches(".hit");
  if (target.id === "question" && event.key === "ArrowDown") step(1, 0);
  else if (target.matches("input, select, textarea")) return;
  else if (MOVES[event.key] && (!arrow || inHit)) step(...MOVES[event.key]);
  else if (event.key === "Enter" && inHit) read(hitOf(target));
  else if (event.key === "/") $("question").select();
  else return;
  event.preventDefault();
});

$("form").addEventListener("submit", (event) => (event.preventDefault(), submit()));
$("question").addEventListener("input", (event) => event.isComposing || later());
$("question").addEventListener("compositionend", later);
$("results").addEventListener("click", (event) => {
  const opener = event.target.closest?.(".open");
  if (opener) read(hitOf(opener.closest(".hit")));
});
matchMedia("(max-width: 40rem)").addEventListener("change", () => document.querySelectorAll(".hit").forEach(fit));
document.addEventListener("locked", () => (reading.close(), lock(true)));
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
addEventListener("popstate", () => {
  if (!info) return;
  if (withoutDocument() === toAddress()) readWhatTheAddressNames();
  else fromAddress();
});
start();
