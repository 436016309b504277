// The page: its parts, and what each hears of the others.
import * as api from "./api.js";
import { compare } from "./compare.js";
import { Detail } from "./detail.js";
import { byId, copy, count, counted, h, say, sentences } from "./dom.js";
import { Download } from "./download.js";
import { Filters } from "./filters.js";
import { Grid } from "./grid.js";
import { shortcuts, themes } from "./keys.js";
import { drawStart, glance, handful } from "./pool.js";
import { Rail } from "./rail.js";
import { Results } from "./results.js";
import { Selection } from "./selection.js";
import { address, Store, termsOf } from "./state.js";
import { Terms } from "./terms.js";
import { drawMessage, summary } from "./messages.js";

let indices = [];
const store = new Store();
const index = () => indices.find((one) => one.name === store.state.index) ?? indices[0] ?? null;
const terms = new Terms(store, index, () => grid.go(0));
const filters = new Filters(store, index);
const rail = new Rail();

const results = new Results({
  changed: (what) => redraw(what),
  faceted: (base, facets) => filters.faceted(base, facets),
  busy: (seconds) => drawMessage({ kind: "busy", seconds }),
});

const selection = new Selection({
  changed: () => grid.marks(),
  compare: (pairs) => compare(pairs, store.state.index, (uid) => detail.open(uid)),
  like: (uids) => {
    selection.clear();
    terms.likeAll(uids);
  },
  download: () => download.open("selected"),
});

const pick = (pair, isRange) => selection.pick(pair, isRange, results.shown);

const grid = new Grid(byId("grid"), {
  open: (pair) => detail.open(pair.uid),
  pick,
  isSelected: (uid) => selection.has(uid),
  like: (pair) => terms.like(pair.uid),
  more: () => results.more(),
  moved: () => rail.moved(),
});

const detail = new Detail({
  store, results, index,
  actions: {
    pick,
    isSelected: (uid) => selection.has(uid),
    like: (uid) => terms.like(uid),
    add: (term) => terms.add(term),
    go: (number) => grid.go(number),
  },
});

const download = new Download({ store, index, selection });

const SEARCHED = ["index", "side", "terms", "text", "weight", "least", "ends", "fold", "recall", "where", "width",
  "aspect", "date", "host", "language", "partition"];

store.subscribe((state, changed) => {
  drawControls(state);
  if (changed.includes("index")) drawIndex();
  if (changed.some((name) => SEARCHED.includes(name))) find();
});

const UNAUTHORIZED = 401;
const NOT_FOUND = 404;

/** Search for what the state says, or show the beginning. */
async function find() {
  filters.refuse(null);
  if (!index()) return;
  if (!termsOf(store.state).length) {
    results.clear();
    show("start");
    await begin();
    return;
  }
  await terms.ready();
  await results.find(store.state, index());
}

/** What is seen: `start`, `results` or `message`. */
function show(what) {
  document.body.dataset.shows = what;
  byId("grid").hidden = what === "message";
  byId("start").hidden = what !== "start";
  byId("message").hidden = what !== "message";
  byId("toolbar").hidden = what === "start";
  document.body.classList.remove("waiting");
}

const context = (list) => ({
  index: store.state.index,
  isSearch: true,
  several: list.some((one) => one.contributions?.length > 1),
  pick,
  like: (result) => terms.like(result.uid),
  unfold: (result) => results.unfold(result, store.state.index),
  href: (uid) => address({ ...store.state, item: uid }),
  total: () => (results.hasMore ? -1 : results.shown.length),
});

const ACTS = {
  waiting: () => document.body.classList.add("waiting"),
  found: () => {
    const { answer, shown } = results;
    window.scrollTo({ top: 0 });
    show(shown.length ? "results" : "message");
    if (!shown.length) drawMessage({ kind: "empty", state: store.state, clear: clearFilters });
    const ends = store.state.ends ? null : answer.relevance_ends;
    grid.show(shown, { ends, context: context(shown) });
    byId("summary").replaceChildren(...summary(results));
    say(shown.length ? `${results.hasMore ? "More than " : ""}${counted(shown.length, "result")}` : "Nothing found");
  },
  more: () => {
    grid.refresh(results.shown);
    byId("summary").replaceChildren(...summary(results));
  },
  stopped: () => {
    const again = () => {
      byId("message").hidden = true;
      results.again();
    };
    drawMessage({ kind: "stopped", told: results.failure.told, again });
  },
  failed: () => {
    const { told } = results.failure;
    const isCondition = /^(where|condition)/.test(told.where);
    if (isCondition) filters.refuse(told);
    grid.show([], { ends: null, context: context([]) });
    refused(results.failure, find);
    // The whole of it is said beside the field.
    if (isCondition) drawMessage({ kind: "condition", told, remove: () => store.set({ where: "" }, { back: true }) });
  },
};

/** Say what the service has against a request, and offer what may help. */
function refused({ told, status }, again) {
  show("message");
  if (status === UNAUTHORIZED) drawMessage({ kind: "locked", enter });
  else if (status === NOT_FOUND && told.where === "index") unserved(told, again);
  else drawMessage({ kind: "failed", told, again });
  say(status === UNAUTHORIZED ? "This service asks for a token" : sentences(told));
}

/** The index that the address names has gone, perhaps while the page was open: offer the others. */
async function unserved(told, again) {
  try {
    indices = await api.indices();
  } catch (error) {
    if (!(error instanceof api.Refusal)) throw error;
    drawMessage({ kind: "failed", told, again });
    return;
  }
  drawIndex();
  const others = indices.map((one) => one.name);
  const choose = (name) => store.set({ index: name, item: null }, { back: true });
  drawMessage({ kind: "unserved", name: store.state.index || "The first index", others, choose });
}

/** Enter by a token; what is wrong with it, if something is. */
async function enter(token) {
  try {
    await api.signIn(token);
  } catch (error) {
    if (!(error instanceof api.Refusal)) throw error;
    return error.status === UNAUTHORIZED ? "It is another token." : sentences(error.told);
  }
  location.reload();
  return null;
}

function redraw(what) {
  ACTS[what]();
  const ends = results.answer?.relevance_ends ?? null;
  if (what !== "waiting") rail.show(results.shown, grid.layout, ends);
  byId("end").hidden = results.hasMore || !results.shown.length;
  byId("results").setAttribute("aria-busy", String(results.isWaiting));
}

const clearFilters = () => byId("no-filters").click();

/** The beginning: the pool at a glance, and some of it. */
async function begin() {
  byId("results").setAttribute("aria-busy", "true");
  try {
    const some = await handful(index());
    if (termsOf(store.state).length) return;
    results.list = some.map((one, rank) => ({ ...one, rank }));
    drawStart(index(), some, (text) => store.set({ text }, { back: true }));
    grid.show(results.shown, { ends: null, context: { ...context([]), isSearch: false } });
    rail.show([], grid.layout, null);
    byId("end").hidden = true;
    byId("results").setAttribute("aria-busy", "false");
  } catch (error) {
    if (!(error instanceof api.Refusal)) throw error;
    results.failure = error;
    redraw("failed");
  }
}

function drawControls(state) {
  for (const side of ["image", "text"]) byId(`side-${side}`).checked = state.side === side;
}

function drawIndex() {
  const current = index();
  if (!current) return;
  byId("index").replaceChildren(...indices.map(({ name }) => h("option", { value: name }, name)));
  byId("index").value = current.name;
  byId("index").hidden = indices.length < 2;
  byId("pool-name").textContent = indices.length < 2 ? current.name : "";
  byId("choose").hidden = !current.uploads;
  document.title = `${current.name} · clip_assets`;
  byId("page-title").textContent = `Search of ${current.name}`;
  byId("about-glance").replaceChildren(...glance(current));
  byId("about-title").textContent = `${current.name}, ${count(current.vectors)} pictures`;
  filters.draw(store.state);
}

/** What does something on a click, a change or a key, and belongs to no part. */
function controls() {
  byId("index").addEventListener("change", (event) => store.set({ index: event.target.value }, { back: true }));
  for (const side of ["image", "text"]) {
    byId(`side-${side}`).addEventListener("change", () => store.set({ side }, { back: true }));
  }
  byId("size").addEventListener("input", (event) => { grid.target = Number(event.target.value); });
  byId("share").addEventListener("click", () => copy(location.href, "Link"));
  byId("save").addEventListener("click", () => download.open("search"));
  byId("another").addEventListener("click", begin);
  byId("home").addEventListener("click", (event) => {
    event.preventDefault();
    terms.clear();
  });
  for (const button of document.querySelectorAll("[data-opens]")) {
    button.addEventListener("click", () => byId(button.dataset.opens).showModal());
  }
  for (const button of document.querySelectorAll("[data-closes]")) {
    button.addEventListener("click", () => byId(button.dataset.closes).close());
  }
  byId("filters-toggle").addEventListener("click", () => panel(!document.body.classList.contains("filtering")));
  byId("filters-close").addEventListener("click", () => panel(false));
}

function panel(isOpen) {
  document.body.classList.toggle("filtering", isOpen);
  byId("filters-toggle").setAttribute("aria-expanded", String(isOpen));
  if (isOpen && window.innerWidth < 900) byId("filters-close").focus();
  else if (!isOpen) byId("filters-toggle").focus();
}

async function start() {
  controls();
  themes();
  shortcuts({
    focus: () => terms.focus(),
    clear: () => selection.clear(),
    save: () => download.now(),
    pointed: (event) => grid.pointed(event),
  });
  if (window.innerWidth >= 1100) {
    document.body.classList.add("filtering");
    byId("filters-toggle").setAttribute("aria-expanded", "true");
  }
  if (termsOf(store.state).length) {
    terms.draw(store.state);
    show("message");
    drawMessage({ kind: "searching" });
  }
  try {
    indices = await api.indices();
  } catch (error) {
    if (!(error instanceof api.Refusal)) throw error;
    refused(error, () => location.reload());
    return;
  }
  if (!indices.length) {
    show("message");
    drawMessage({ kind: "none" });
    return;
  }
  drawIndex();
  drawControls(store.state);
  terms.draw(store.state);
  await find();
  detail.start();
}

await start();
