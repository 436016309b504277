// The field that a search is written in: the terms as chips, the words being typed, images.
import { image } from "./api.js";
import { byId, h, icon, isWeb, paused, say, toast } from "./dom.js";
import { keep, load, preview, receive } from "./images.js";
import { bounded, WEIGHTS } from "./state.js";

const PAUSE = 160; // milliseconds after the last key before words are searched for
const NARROW = 560; // pixels; an image is rarely dropped there
const IMAGE_URL = /^https?:\/\/\S+$/i;

/** What a term is called. */
export function nameOf(term) {
  if (term.kind === "text") return term.value;
  if (term.kind === "uid") return "picture of the pool";
  return term.kind === "url" ? "image of a link" : "your image";
}

/** A weight with its sign, for people. */
export const signed = (weight) =>
  `${weight < 0 ? "−" : "+"}${Math.abs(weight).toFixed(2).replace(/\.?0+$/, "")}`;

/** The search field. */
export class Terms {
  #store;
  #input = byId("words");
  #chips = byId("chips");
  #index = () => null;

  /** down: called where the keyboard is to leave the field for the results. */
  constructor(store, index, down) {
    this.#store = store;
    this.#index = index;
    this.down = down;
    const typed = paused(() => store.set({ text: this.#input.value }), PAUSE);
    this.#input.addEventListener("input", () => typed());
    this.#input.addEventListener("keydown", (event) => this.#key(event, typed));
    byId("search").addEventListener("submit", (event) => {
      event.preventDefault();
      typed.cancel();
      this.#enter();
    });
    byId("search").addEventListener("click", (event) => {
      if (event.target === event.currentTarget) this.#input.focus();
    });
    byId("add").addEventListener("click", () => this.next(WEIGHTS.added));
    byId("exclude").addEventListener("click", () => this.next(WEIGHTS.excluded));
    byId("clear").addEventListener("click", () => this.clear());
    byId("choose").addEventListener("click", () => byId("file").click());
    byId("file").addEventListener("change", (event) => {
      if (event.target.files[0]) this.bring(event.target.files[0]);
      event.target.value = "";
    });
    receive({
      image: (file) => this.bring(file),
      uid: (uid) => this.add({ kind: "uid", value: uid, weight: WEIGHTS.added }),
      refuse: () => toast("Only an image can be dropped here"),
    });
    store.subscribe((state) => this.draw(state));
  }

  /** Load the images of the terms, those that this browser has. */
  async ready() {
    const images = this.#store.state.terms.filter((term) => term.kind === "image");
    await load(images.map((term) => term.value));
    this.draw(this.#store.state);
  }

  focus() {
    this.#input.focus();
    this.#input.select();
  }

  /** Search for what is like one pair, and for nothing else. */
  like(uid) {
    const terms = [{ kind: "uid", value: uid, weight: 1 }];
    this.#store.set({ terms, text: "", weight: 1, item: null }, { back: true });
    window.scrollTo({ top: 0 });
  }

  /** Search for the middle of several pairs. */
  likeAll(uids) {
    const terms = uids.map((value) => ({ kind: "uid", value, weight: 1 }));
    this.#store.set({ terms, text: "", weight: 1, item: null }, { back: true });
    window.scrollTo({ top: 0 });
  }

  /** Put one more term into the mix; one that is there gets the new weight. */
  add(term) {
    const { terms } = this.#store.state;
    const others = terms.filter((one) => one.kind !== term.kind || one.value !== term.value);
    this.#store.set({ terms: [...others, term], item: null }, { back: true });
    toast(term.weight < 0 ? "Excluded from the search" : "Added to the search");
  }

  /** Make a chip of the words that are typed, and begin another term. */
  next(weight) {
    const { terms, weight: own } = this.#store.state;
    const text = this.#input.value.trim();
    const typed = text ? [{ kind: "text", value: text, weight: own }] : [];
    this.#input.value = "";
    this.#store.set({ terms: [...terms, ...typed], text: "", weight }, { back: Boolean(text) });
    this.#input.focus();
    say(weight < 0 ? "Words typed now are excluded" : "Words typed now are added");
  }

  clear() {
    this.#input.value = "";
    this.#store.set({ terms: [], text: "", weight: 1 }, { back: true });
    this.#input.focus();
  }

  /** Search by an image that a person brings: alone, or in the mix if there is one. */
  async bring(file) {
    const { terms } = this.#store.state;
    const mixed = terms.length ? terms : [];
    const value = await keep(file);
    const others = mixed.filter((term) => term.value !== value);
    const text = terms.length ? this.#input.value : "";
    this.#input.value = text;
    this.#store.set({ terms: [...others, { kind: "image", value, weight: 1 }], text }, { back: true });
  }

  #enter() {
    const text = this.#input.value.trim();
    if (IMAGE_URL.test(text) && this.#index()?.image_urls) {
      this.#input.value = "";
      const term = { kind: "url", value: text, weight: this.#store.state.weight };
      this.#store.set({ terms: [...this.#store.state.terms, term], text: "", weight: 1 }, { back: true });
      return;
    }
    this.#store.set({ text: this.#input.value }, { back: true });
  }

  #key(event, typed) {
    if (event.key === "ArrowDown") {
      event.preventDefault();
      this.down();
      return;
    }
    if (event.key !== "Backspace" || this.#input.value) return;
    const { terms, weight } = this.#store.state;
    const last = terms.at(-1);
    typed.cancel();
    if (weight !== 1) this.#store.set({ weight: 1 });
    else if (last?.kind === "text") {
      event.preventDefault();
      this.#input.value = last.value;
      this.#store.set({ terms: terms.slice(0, -1), text: last.value, weight: last.weight });
    } else if (last) this.#store.set({ terms: terms.slice(0, -1) }, { back: true });
  }

  draw(state) {
    if (document.activeElement !== this.#input || !state.text) {
      if (this.#input.value.trim() !== state.text.trim()) this.#input.value = state.text;
    }
    const isMix = state.terms.length > 0;
    byId("clear").hidden = !isMix && !state.text;
    byId("sign").hidden = state.weight >= 0;
    const first = window.innerWidth < NARROW ? "Search in words" : "Search in words, or drop an image";
    const words = isMix ? "add words" : first;
    this.#input.placeholder = state.weight < 0 ? "without …" : words;
    const focused = document.activeElement?.closest?.(".chip")?.dataset.at;
    const control = document.activeElement?.dataset?.control;
    this.#chips.replaceChildren(...state.terms.map((term, at) => this.#chip(term, at)));
    this.#chips.hidden = !isMix;
    if (focused !== undefined && control) {
      const again = this.#chips.querySelector(`[data-at="${focused}"] [data-control="${control}"]`);
      (again ?? this.#input).focus();
    }
  }

  #chip(term, at) {
    const name = nameOf(term);
    const weigh = (step) => () => this.#weigh(at, bounded(term.weight + step));
    const button = (control, words, image_, act, disabled = false) =>
      h("button", { type: "button", "aria-label": words, title: words, data: { control }, onclick: act, disabled }, icon(image_));
    const chip = h(
      "li",
      { class: term.weight < 0 ? "chip minus" : "chip", data: { at } },
      h(
        "span",
        { role: "group", "aria-label": `${name}, weight ${signed(term.weight)}` },
        this.#face(term, name),
        button("less", `Less of ${name}`, "minus", weigh(-WEIGHTS.step), term.weight <= WEIGHTS.least),
        h("span", { class: "weight" }, signed(term.weight)),
        button("more", `More of ${name}`, "plus", weigh(WEIGHTS.step), term.weight >= WEIGHTS.most),
        button("remove", `Remove ${name}`, "close", () => this.#remove(at)),
      ),
    );
    return chip;
  }

  #face(term, name) {
    if (term.kind === "text") return h("span", { class: "words" }, name);
    if (term.kind === "url") {
      return h("span", { class: "words", title: term.value }, isWeb(term.value) ? new URL(term.value).host : name);
    }
    const { index } = this.#store.state;
    const src = term.kind === "uid" ? image(term.value, index, 256) : preview(term.value);
    return src ? h("img", { src, alt: name }) : h("span", { class: "words lost" }, "image not here");
  }

  #weigh(at, weight) {
    const terms = this.#store.state.terms.map((term, other) => (other === at ? { ...term, weight } : term));
    this.#store.set({ terms });
    say(`weight ${signed(weight)}`);
  }

  #remove(at) {
    this.#store.set({ terms: this.#store.state.terms.filter((_, other) => other !== at) }, { back: true });
    this.#input.focus();
  }
}
