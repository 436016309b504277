// Elements, words and numbers. Nothing here knows what a search is.

/**
 * An element. Properties that start with "on" are listeners, those of `data` become data attributes,
 * true and false are attributes that are there or not, null ones are left out.
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "data") Object.assign(element.dataset, value);
    else if (name === "class") element.className = value;
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** The element with this id. */
export const byId = (id) => document.getElementById(id);

/** An icon of the sprite in index.html; the control around it has the words. */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}

const WHOLE = new Intl.NumberFormat("en");

/** A count with separators. */
export const count = (number) => WHOLE.format(number);

/** A count and its noun: `one result`, `3,584 results`. */
export const counted = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;

/** A similarity with its sign if it has one; a minus is as wide as a digit. */
export const similarity = (value, digits = 3) =>
  value === null || value === undefined ? "–" : value.toFixed(digits).replace("-", "−");

/** A number that fits a narrow column: three digits that matter. */
export function short(value) {
  if (Math.abs(value) >= 1000) return count(Math.round(value));
  return String(Number(value.toPrecision(3)));
}

/** What an error of the service says, as sentences. */
export function sentences({ found, expected, advice }) {
  const ended = (text) => (/[.!?…]$/.test(text) ? text : `${text}.`);
  const told = [found, expected && `Expected: ${expected}`, advice].filter(Boolean).map(ended).join(" ");
  return told && told[0].toUpperCase() + told.slice(1);
}

/** The host of a url, or the url itself where it has none. */
export function host(url) {
  try {
    return new URL(url).host;
  } catch {
    return url ?? "";
  }
}

/** Whether a link may lead there: captions' urls are strangers' text. */
export const isWeb = (url) => /^https?:\/\//i.test(url ?? "");

/** Call a function once its calls have paused for some milliseconds. */
export function paused(call, milliseconds) {
  let timer = 0;
  const later = (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => call(...values), milliseconds);
  };
  later.cancel = () => clearTimeout(timer);
  return later;
}

const spoken = paused((text) => {
  byId("spoken").textContent = text;
}, 400);

/** Tell a screen reader, when things have come to rest. */
export const say = (text) => spoken(text);

let toastTimer = 0;

/** A line at the foot of the page that goes by itself. */
export function toast(text) {
  const line = byId("toast");
  line.textContent = text;
  line.classList.add("shown");
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => line.classList.remove("shown"), 3500);
}

/** Copy a text, and say so. */
export async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
    toast(`${what} copied`);
  } catch {
    // Without https, a browser has no clipboard for pages.
    window.prompt(`Copy the ${what.toLowerCase()}:`, text);
  }
}
