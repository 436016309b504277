// The search that a person has put together, and the same as the url of the page.

/** What is searched for when nothing is. */
export const BLANK = Object.freeze({
  index: "",
  side: "image",
  terms: [], // {kind: text | uid | image | url, value, weight}
  text: "", // of the term that is being typed
  weight: 1, // of that term
  least: null, // similarity
  ends: false, // whether to stop where relevance ends
  fold: true,
  recall: null,
  where: "",
  width: null, // [from, below], pixels; an end that is null is open
  aspect: null, // [from, below]
  date: null, // [from, below], seconds since the beginning of 1970
  host: [],
  language: [],
  partition: [],
  item: null, // uid of the pair that is looked at
});

export const RANGES = ["width", "aspect", "date"];
export const LISTS = ["host", "language", "partition"];
const PARTS = "*"; // between weight, kind and value of a term; urls have it as it is
const ENDS = ".."; // of a range
const KINDS = ["text", "uid", "image", "url"];
export const WEIGHTS = { least: -2, most: 2, step: 0.25, added: 1, excluded: -0.5 };

/** A weight that a term can have. */
export const bounded = (weight) => Math.min(WEIGHTS.most, Math.max(WEIGHTS.least, weight));

/** The terms of a search, with the one that is being typed. */
export function termsOf(state) {
  const text = state.text.trim();
  const typed = text ? [{ kind: "text", value: text, weight: state.weight }] : [];
  return [...state.terms, ...typed];
}

/** How many filters narrow a search. */
export const filtersOf = (state) =>
  [...RANGES, ...LISTS].filter((name) => state[name]?.length).length +
  (state.least !== null) + state.ends + Boolean(state.where.trim());

const number = (text) => (text !== null && text.trim() && isFinite(text) ? Number(text) : null);

/** A state as the query of a url: only what is not as usual. */
export function toQuery(state) {
  const query = new URLSearchParams();
  const put = (name, value) => value && query.append(name, value);
  put("index", state.index);
  put("side", state.side !== "image" && state.side);
  put("q", state.text.trim());
  put("weight", state.text.trim() && state.weight !== 1 && String(state.weight));
  for (const term of state.terms) put("term", [term.weight, term.kind, term.value].join(PARTS));
  put("least", state.least !== null && String(state.least));
  put("ends", state.ends && "1");
  put("fold", !state.fold && "0");
  put("recall", state.recall && String(state.recall));
  put("where", state.where.trim());
  for (const name of RANGES) put(name, state[name] && state[name].map((end) => end ?? "").join(ENDS));
  for (const name of LISTS) for (const value of state[name]) put(name, value);
  put("item", state.item);
  return query;
}

/** The state that the query of a url says; what it says wrong is left out. */
export function fromQuery(text) {
  const query = new URLSearchParams(text);
  const found = {
    ...BLANK,
    index: query.get("index") ?? "",
    side: query.get("side") === "text" ? "text" : "image",
    text: query.get("q") ?? "",
    weight: bounded(number(query.get("weight")) ?? 1),
    terms: query.getAll("term").map(term).filter(Boolean),
    least: number(query.get("least")),
    ends: query.get("ends") === "1",
    fold: query.get("fold") !== "0",
    recall: number(query.get("recall")),
    where: query.get("where") ?? "",
    item: query.get("item"),
  };
  for (const name of RANGES) {
    const ends = (query.get(name) ?? "").split(ENDS).map(number);
    if (ends.length === 2 && ends.some((end) => end !== null)) found[name] = ends;
  }
  for (const name of LISTS) found[name] = query.getAll(name);
  return found;
}

function term(text) {
  const [weight, kind, ...rest] = text.split(PARTS);
  const value = rest.join(PARTS);
  if (!KINDS.includes(kind) || !value || number(weight) === null) return null;
  return { kind, value, weight: bounded(Number(weight)) };
}

/** The state, who hears of its changes, and the address bar. */
export class Store {
  #listeners = [];

  constructor() {
    this.state = fromQuery(location.search);
    window.addEventListener("popstate", () => this.#change(fromQuery(location.search)));
  }

  /** Hear of every change: the new state, and the names of what is different. */
  subscribe(listener) {
    this.#listeners.push(listener);
  }

  /**
   * Change some of the state. What a person would want to go back from gets a place in the
   * browser's history: `{back: true}`.
   */
  set(patch, { back = false } = {}) {
    const next = { ...this.state, ...patch };
    const url = address(next);
    if (back && url !== address(this.state)) history.pushState({ within: true }, "", url);
    else history.replaceState(history.state, "", url);
    this.#change(next);
  }

  #change(next) {
    const changed = Object.keys(BLANK).filter(
      (name) => JSON.stringify(next[name]) !== JSON.stringify(this.state[name]),
    );
    this.state = next;
    if (changed.length) for (const listener of this.#listeners) listener(next, changed);
  }
}

/** The page's address with a state. */
export function address(state) {
  const query = toQuery(state).toString();
  return query ? `?${query}` : location.pathname;
}
