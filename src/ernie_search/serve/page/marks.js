// A passage's text with its matching words marked, made of text nodes only, so that no HTML in it is parsed.

/** The characters of a text by code points, as Python counts them, not UTF-16 units. */
export const points = (text) => Array.from(text);

/** The strength of a match within its passage, from 0.3 for the weakest to 1. */
function shade(match, matches) {
  const all = matches.map((one) => one.strength);
  const low = Math.min(...all), high = Math.max(...all);
  return high > low ? 0.3 + (0.7 * (match.strength - low)) / (high - low) : 1;
}

/** The tooltip of a match: a line per token of the question. */
export function tipOf(match) {
  if (!match.tokens.length) return "is in the question";
  return match.tokens
    .slice()
    .sort((a, b) => b.strength - a.strength)
    .map((one) => `“${one.text || "token " + (one.token + 1)}” ${one.strength.toFixed(2)}`)
    .join("\n");
}

/** Fragments of title and text with <mark> around matches, whose places count title, space and text. */
export function marked(title, text, matches) {
  const shift = title ? points(title).length + 1 : 0;
  return [fragment(points(title), 0, matches), fragment(points(text), shift, matches)];
}

function fragment(characters, shift, matches) {
  const out = document.createDocumentFragment();
  let at = 0;
  for (const match of matches) {
    const start = Math.max(match.start - shift, at), stop = Math.min(match.stop - shift, characters.length);
    if (stop <= start) continue;
    out.append(characters.slice(at, start).join(""));
    const mark = document.createElement("mark");
    mark.textContent = characters.slice(start, stop).join("");
    mark.style.setProperty("--strength", shade(match, matches).toFixed(3));
    mark.dataset.tip = tipOf(match);
    mark.dataset.tokens = match.tokens.map((one) => one.token).join(" ");
    out.append(mark);
    at = stop;
  }
  out.append(characters.slice(at).join(""));
  return out;
}
