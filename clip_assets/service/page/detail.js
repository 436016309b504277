// One pair, large: its picture, why it was found, where it is from, everything known of it.
import * as api from "./api.js";
import { byId, copy, h, host, icon, isWeb, sentences, similarity } from "./dom.js";
import { nameOf as nameOfTerm, signed } from "./terms.js";
import { termsOf, WEIGHTS } from "./state.js";
import { nameOf, titleOf, withOriginal } from "./tile.js";

/** Columns that have a place of their own, or none. */
const TOLD = new Set([
  "uid", "id", "similarity", "contributions", "url", "caption", "text", "partition", "image_path", "width",
  "height", "original_width", "original_height", "pair_similarity", "folded", "rank", "member", "unfolded",
  "has_metadata",
]);
const LONG = 280; // characters of a caption; more are shown when asked for
const SWIPE = 60; // pixels
const LARGER = 2.5; // a small picture is shown up to so many times its size

export class Detail {
  #dialog = byId("detail");
  #uid = null;
  #pair = {};
  #pushed = false;
  #asking = null;
  #touch = null;

  /** context: store, results, index, actions {like, add, pick, isSelected, go}. */
  constructor(context) {
    this.context = context;
    this.#dialog.addEventListener("close", () => this.#closed());
    this.#dialog.addEventListener("click", (event) => {
      if (event.target === this.#dialog) this.#dialog.close();
    });
    this.#dialog.addEventListener("keydown", (event) => this.#key(event));
    const picture = byId("detail-picture");
    picture.addEventListener("touchstart", (event) => { this.#touch = event.changedTouches[0].clientX; }, { passive: true });
    picture.addEventListener("touchend", (event) => {
      const moved = event.changedTouches[0].clientX - this.#touch;
      if (Math.abs(moved) > SWIPE) this.#step(moved < 0 ? 1 : -1);
    });
    byId("detail-whole").addEventListener("click", () => this.#unclamp());
    byId("detail-close").addEventListener("click", () => this.#dialog.close());
    byId("detail-next").addEventListener("click", () => this.#step(1));
    byId("detail-previous").addEventListener("click", () => this.#step(-1));
    context.store.subscribe((state, changed) => {
      if (changed.includes("item")) this.#follow(state);
    });
  }

  /** Open a pair; the browser's way back closes it. */
  open(uid) {
    this.#pushed = true;
    this.context.store.set({ item: uid }, { back: true });
  }

  /** Show what the address names, or nothing. */
  start() {
    this.#follow(this.context.store.state);
  }

  #follow(state) {
    if (!state.item) {
      this.#pushed = false;
      if (this.#dialog.open) this.#dialog.close();
      return;
    }
    this.#uid = state.item;
    if (!this.#dialog.open) this.#dialog.showModal();
    this.#show(state);
  }

  /** The caption: its beginning, where it is longer than a screen should give it. */
  #title(pair) {
    const title = pair.uid ? titleOf(pair) : "";
    if (byId("detail-title").textContent === title) return; // its columns have come
    const isLong = title.length > LONG;
    byId("detail-title").textContent = title;
    byId("detail-title").classList.toggle("clamped", isLong);
    byId("detail-whole").hidden = !isLong;
  }

  #unclamp() {
    byId("detail-title").classList.remove("clamped");
    byId("detail-whole").hidden = true;
    byId("detail-close").focus();
  }

  #closed() {
    const { store, results, actions } = this.context;
    this.#asking?.abort();
    const number = results.shown.findIndex((one) => one.uid === this.#uid);
    if (store.state.item) {
      if (this.#pushed) history.back();
      else store.set({ item: null });
    }
    this.#pushed = false;
    if (number >= 0) actions.go(number);
  }

  #step(direction) {
    const shown = this.context.results.shown;
    const next = shown[shown.findIndex((one) => one.uid === this.#uid) + direction];
    if (!next) return;
    this.context.store.set({ item: next.uid });
    if (shown.at(-5)?.uid === next.uid) this.context.results.more();
  }

  #key(event) {
    if (event.target.closest("input, textarea, select") || event.ctrlKey || event.metaKey || event.altKey) return;
    const acts = {
      ArrowRight: () => this.#step(1),
      ArrowLeft: () => this.#step(-1),
      m: () => this.context.actions.like(this.#uid),
      x: () => byId("detail-pick")?.click(),
    };
    acts[event.key]?.();
  }

  async #show(state) {
    const uid = this.#uid;
    const found = this.context.results.of(uid);
    this.#asking?.abort();
    this.#asking = new AbortController();
    this.#draw(found ?? { uid }, state);
    try {
      const whole = await api.item(uid, state.index, this.#asking.signal);
      if (this.#uid === uid) this.#draw({ ...whole, ...found, columns: whole }, state);
    } catch (error) {
      if (error instanceof api.Refusal && this.#uid === uid && !found) this.#fail(error);
    }
  }

  #fail(error) {
    this.#title({});
    byId("detail-title").textContent = "This pair cannot be shown";
    byId("detail-picture").replaceChildren();
    byId("detail-picture").dataset.shows = "";
    byId("detail-body").replaceChildren(h("p", { class: "refusal" }, sentences(error.told)));
  }

  #draw(pair, state) {
    const shown = this.context.results.shown;
    const at = shown.findIndex((one) => one.uid === pair.uid);
    byId("detail-previous").disabled = at <= 0;
    byId("detail-next").disabled = at < 0 || at + 1 >= shown.length;
    this.#title(pair);
    this.#picture(pair, state);
    byId("detail-body").replaceChildren(
      ...[this.#actions(pair), this.#why(pair, state), this.#facts(pair), this.#columns(pair), this.#uidLine(pair)].filter(Boolean),
    );
  }

  #picture(pair, state) {
    const src = api.image(pair.uid, state.index);
    const box = byId("detail-picture");
    this.#pair = pair;
    if (box.dataset.shows === src) return;
    box.dataset.shows = src;
    const picture = h("img", { src, alt: nameOf(pair), referrerpolicy: "no-referrer" });
    picture.addEventListener("load", () => {
      picture.style.maxWidth = `${LARGER * picture.naturalWidth}px`;
      picture.style.maxHeight = `${LARGER * picture.naturalHeight}px`;
    });
    withOriginal(picture, () => this.#pair.url, () =>
      box.replaceChildren(h("p", { class: "missing" }, icon("broken"), "Neither we nor its host have this picture")));
    box.replaceChildren(picture);
  }

  #actions(pair) {
    const { actions } = this.context;
    const mix = (weight) => () => actions.add({ kind: "uid", value: pair.uid, weight });
    const isSelected = actions.isSelected(pair.uid);
    const select = h("button", {
      type: "button", id: "detail-pick", "aria-pressed": String(isSelected),
      onclick: (event) => {
        actions.pick(pair);
        event.currentTarget.setAttribute("aria-pressed", String(actions.isSelected(pair.uid)));
      },
    }, icon("tick"), "Select");
    return h("div", { class: "actions" },
      h("button", { type: "button", class: "primary", onclick: () => actions.like(pair.uid) }, icon("like"), "More like this"),
      h("button", { type: "button", onclick: mix(WEIGHTS.added) }, icon("plus"), "Add"),
      h("button", { type: "button", onclick: mix(WEIGHTS.excluded) }, icon("minus"), "Exclude"),
      select);
  }

  /** What each term of the search gave to the similarity. */
  #why(pair, state) {
    if (pair.similarity === null || pair.similarity === undefined) return null;
    const terms = termsOf(state);
    const given = pair.contributions ?? [];
    const most = Math.max(...given.map(Math.abs), 0.001);
    const rows = given.length > 1 && given.length === terms.length ? given.map((value, at) => {
      const bar = h("span", { class: value < 0 ? "give minus" : "give" });
      bar.style.width = `${(50 * Math.abs(value)) / most}%`;
      return h("tr", {},
        h("th", { scope: "row" }, nameOfTerm(terms[at]), " ", h("span", { class: "weight" }, `× ${signed(terms[at].weight)}`)),
        h("td", { class: "axis" }, bar), h("td", { class: "figure" }, similarity(value)));
    }) : [];
    return h("section", { class: "why" },
      h("h3", {}, "Similarity to the search"),
      h("p", { class: "large figure" }, similarity(pair.similarity)),
      rows.length ? h("table", {}, h("caption", { class: "unseen" }, "What each term gave"), h("tbody", {}, rows)) : null);
  }

  #facts(pair) {
    const size = (width, height) => (width && height ? `${width} × ${height}` : null);
    const facts = [
      ["Original", isWeb(pair.url) ? h("a", { href: pair.url, target: "_blank", rel: "noreferrer", title: pair.url }, host(pair.url), icon("out")) : pair.url],
      ["Original size", size(pair.original_width, pair.original_height)],
      ["Stored size", size(pair.width, pair.height)],
      ["Image and caption", pair.pair_similarity === undefined ? null : similarity(pair.pair_similarity)],
      ["Partition", pair.partition],
      ["Stored as", pair.image_path && h("code", {}, pair.image_path)],
      ["Metadata", pair.columns?.has_metadata === false && "gone since the index was made"],
    ];
    return h("dl", { class: "facts" }, facts.filter(([, value]) => value)
      .flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
  }

  #columns(pair) {
    const rest = Object.entries(pair.columns ?? {})
      .filter(([name, value]) => !TOLD.has(name) && value !== null && String(value) !== "");
    if (!rest.length) return null;
    const words = new Map((this.context.index()?.columns ?? []).map((one) => [one.name, one.words]));
    return h("details", { class: "columns-of", open: window.innerWidth > 700 },
      h("summary", {}, `All columns (${rest.length})`),
      h("dl", { class: "facts" }, rest.flatMap(([name, value]) =>
        [h("dt", { title: words.get(name) ?? null }, name), h("dd", {}, told(value))])));
  }

  #uidLine(pair) {
    return h("p", { class: "uid" }, h("span", {}, "uid"), h("code", {}, pair.uid),
      h("button", { type: "button", "aria-label": "Copy the uid", title: "Copy the uid", onclick: () => copy(pair.uid, "uid") }, icon("copy")));
  }
}

/** A value of a column, for people. */
function told(value) {
  if (typeof value === "number" && !Number.isInteger(value)) return String(Number(value.toPrecision(6)));
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}
