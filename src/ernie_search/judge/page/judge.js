// The page: one question at a time; every key is saved before the next one counts.
const $ = (id) => document.getElementById(id);
const el = (tag, className, text) => {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
};
const MARKS = { 1: "relevant", 2: "partly", 3: "not", 4: "skip" };
const SHOWN = { relevant: "relevant", partly: "partly relevant", not: "not relevant", skip: "skipped" };
const SIDES = { ArrowLeft: "left", ArrowRight: "right", ArrowDown: "equal", 4: "skip" };
const BACK = ["ArrowUp", "Backspace"];
let about = null, question = null, step = 0, waiting = Promise.resolve();

// Requests

async function call(path, body) {
  let response;
  try {
    response = await fetch(`/v1/judging${path}`, body && {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
    });
  } catch {
    throw new Error("Not saved: the command has ended. Start it again, and reload this page.");
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(answer.error?.message ?? `Not saved: the answer was ${response.status}.`);
  return answer;
}

function say(text, bad = false) {
  $("status").textContent = text;
  $("status").classList.toggle("bad", bad);
}

/** Steps of a question: its hits, then, of two lists, which is the better one. */
const steps = () => question.order.length + (about.compares ? 1 : 0);
const atPreference = () => about.compares && step === question.order.length;

async function open(number, last = false) {
  question = number === null ? null : await call(`/questions/${number}`);
  if (question) {
    const open = question.order.findIndex((id) => !question.marks[id]);
    step = last ? Math.max(0, steps() - 1) : open < 0 ? question.order.length : open;
    if (!about.compares) step = Math.min(step, question.order.length - 1);
  }
  draw();
}

// What a key does

async function mark(name) {
  const passage = question.order[step];
  about = await call("/marks", { question: question.number, passage, mark: name });
  question.marks[passage] = name;
  await forward();
}

async function prefer(side) {
  about = await call("/preferences", { question: question.number, side });
  question.preference = side;
  await forward();
}

async function forward() {
  if (step + 1 < steps()) {
    step += 1;
    draw();
  } else {
    await open(about.next);
  }
  say("Saved.");
}

async function back() {
  if (!question) return open(about.questions - 1, true);
  if (step > 0) {
    step -= 1;
    draw();
  } else if (question.number > 0) {
    await open(question.number - 1, true);
  }
}

async function press(key) {
  if (BACK.includes(key)) return back();
  if (!question) return;
  if (atPreference()) {
    if (key in SIDES) await prefer(SIDES[key]);
  } else if (key in MARKS && question.order.length) {
    await mark(MARKS[key]);
  } else if (key === "ArrowDown" && question.marks[question.order[step]]) {
    await forward();
    say("");
  }
}

/** One key after the other: the next one waits until this one is saved. */
function queue(work) {
  waiting = waiting.then(work).catch((error) => say(error.message, true));
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (!(event.key in MARKS || event.key in SIDES || BACK.includes(event.key))) return;
  event.preventDefault();
  queue(() => press(event.key));
});

// What is shown

function key(sign, text, what, pressed) {
  const made = el("button");
  made.type = "button";
  made.append(el("kbd", "", sign), text);
  if (pressed !== undefined) made.setAttribute("aria-pressed", String(pressed));
  made.addEventListener("click", () => {
    made.blur();
    queue(() => press(what));
  });
  return made;
}

function card(hit, rank) {
  const given = question.marks[hit.id], here = !atPreference() && question.order[step] === hit.id;
  const made = el("li", here ? "hit here" : "hit"), head = el("div", "head");
  made.dataset.id = hit.id;
  if (given) made.dataset.mark = given;
  if (here) made.setAttribute("aria-current", "true");
  const title = el("h3", "", hit.title || hit.id);
  title.dir = "auto";
  head.append(el("span", "rank", rank), title, el("span", "chip", given ? SHOWN[given] : ""));
  const text = el("p", "text", hit.text);
  text.dir = "auto";
  made.append(head, text);
  made.addEventListener("click", () => queue(() => {
    step = question.order.indexOf(hit.id);
    draw();
  }));
  return made;
}

function drawKeys() {
  const keys = $("keys"), back = key("↑", "Back", "ArrowUp");
  if (!question) return keys.replaceChildren(back);
  if (atPreference()) {
    const is = (side) => question.preference === side;
    keys.replaceChildren(
      key("←", "Left is better", "ArrowLeft", is("left")), key("→", "Right is better", "ArrowRight", is("right")),
      key("↓", "Equal", "ArrowDown", is("equal")), key("4", "Skip", "4", is("skip")), back,
    );
    return;
  }
  const given = question.marks[question.order[step]];
  const names = { 1: "Relevant", 2: "Partly", 3: "Not", 4: "Skip" };
  keys.replaceChildren(...Object.entries(names).map(([sign, name]) => key(sign, name, sign, given === MARKS[sign])), back);
}

function draw() {
  say("");
  $("about").textContent = `${about.finished} of ${about.questions} questions judged`;
  $("bar").max = about.questions;
  $("bar").value = about.finished;
  drawKeys();
  const results = $("results");
  if (!question) {
    document.title = "Judge: done";
    $("question").textContent = "All questions are judged.";
    $("step").textContent = "Done";
    const done = el("p", "empty done");
    done.append(el("strong", "", "Thank you."), "End the command with Ctrl-C: it prints the verdict.");
    results.replaceChildren(done);
    return;
  }
  document.title = `Judge: question ${question.number + 1}`;
  $("question").textContent = question.text;
  const where = atPreference() ? "which list?" : `hit ${Math.min(step + 1, question.order.length)} of ${question.order.length}`;
  $("step").textContent = `Question ${question.number + 1}: ${where}`;
  results.replaceChildren(...question.columns.map((hits, side) => {
    const name = ["Left", "Right"][side];
    const preferred = question.preference === name.toLowerCase();
    const column = el("section", preferred ? "column preferred" : "column");
    column.setAttribute("aria-label", about.compares ? name : "Hits");
    if (about.compares) {
      const head = el("header");
      head.append(el("h2", "", name));
      column.append(head);
    }
    const list = el("ol");
    list.append(...hits.map((hit, place) => card(hit, place + 1)));
    column.append(hits.length ? list : el("p", "empty", "Nothing found."));
    return column;
  }));
  results.querySelector(".here")?.scrollIntoView({ block: "nearest" });
}

queue(async () => {
  about = await call("");
  await open(about.next);
});
