// What the page's scripts share: elements, names of the modes, requests.
export const $ = (id) => document.getElementById(id);
export const el = (tag, className, text) => {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
};
export const button = (className, text, onclick) => Object.assign(el("button", className, text), { type: "button", onclick });
export const NAMES = {
  words: "Words (BM25)", dense: "Dense", late: "Late interaction", hybrid: "Hybrid", cross: "Cross-encoder", bm25: "BM25",
};
export const nameOf = (mode) => NAMES[mode] ?? mode;

/** The answer to a GET, or to a POST of ``body``; an error has a message for people, and ``status``. */
export async function call(path, body, signal) {
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
  const answer = await response.json().catch((error) => {
    if (error.name === "AbortError") throw error; // given up while the answer was read: there is none
    if (response.ok) throw new Error("The service's answer was cut off.");
    return {};
  });
  if (response.ok) return answer;
  if (response.status === 401) document.dispatchEvent(new Event("locked"));
  const said = response.status === 401 && !key ? "" : answer.error?.message ?? `The service answered ${response.status}.`;
  throw Object.assign(new Error(said), { status: response.status });
}

/** Whether the service answers questions. */
export const isReady = () => fetch("/readyz", { cache: "no-store" }).then((one) => one.ok, () => false);
