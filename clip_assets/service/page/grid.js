// The results as a justified grid: however many there are, only those near the window are in the
// document. What a tile looks like is said by tile.js, where tiles lie by justified.js.
import { h } from "./dom.js";
import { aspect, beside, between, rows } from "./justified.js";
import { mark, place, tile } from "./tile.js";

const AHEAD = 1.0; // windows above and below that are kept ready
const NEAR_END = 1.5; // windows before the end where more is asked for
const END_LINE = 52; // pixels for the line where relevance ends

export class Grid {
  #element;
  #handlers;
  #items = [];
  #tiles = new Map(); // by number
  #layout = { rows: [], marks: [], height: 0 };
  #ends = null;
  #current = 0;
  #target = 190;
  #frame = 0;
  #context = {};

  /** handlers: open, pick, isSelected, more, moved, unfold, like. */
  constructor(element, handlers) {
    this.#element = element;
    this.#handlers = handlers;
    window.addEventListener("scroll", () => this.#soon(), { passive: true });
    new ResizeObserver(() => this.#relayout()).observe(element);
    element.addEventListener("keydown", (event) => this.#key(event));
    element.addEventListener("click", (event) => this.#click(event));
    element.addEventListener("focusin", (event) => this.#focused(event));
  }

  /** Show these results instead of what is there. */
  show(items, { ends, context }) {
    this.#clear();
    this.#items = items;
    this.#ends = ends;
    this.#context = context;
    this.#current = 0;
    this.#relayout();
  }

  /** Show the results after some came, opened or closed; the keyboard stays where it is. */
  refresh(items) {
    const had = this.#element.contains(document.activeElement);
    this.#items = items;
    for (const [number, element] of this.#tiles) {
      const item = items[number];
      if (item?.uid === element.dataset.uid && Boolean(item.unfolded) === element.isOpen) continue;
      element.remove();
      this.#tiles.delete(number);
    }
    this.#relayout();
    if (had && !this.#element.contains(document.activeElement)) this.go(this.#current);
  }

  /** How high rows are meant to be, in pixels. */
  set target(pixels) {
    this.#target = pixels;
    this.#relayout();
  }

  get layout() {
    return this.#layout;
  }

  /** The number of the first result that is in the window. */
  get topmost() {
    const above = window.scrollY - this.#offset() + this.#sticky();
    const row = this.#layout.rows.find((one) => one.top + one.height > above);
    return row?.first ?? 0;
  }

  /** Mark which tiles are selected. */
  marks() {
    for (const [number, element] of this.#tiles) {
      mark(element, this.#handlers.isSelected(this.#items[number].uid));
    }
  }

  /** Bring a result into the window and, if wanted, the keyboard to it. */
  go(number, { focus = true } = {}) {
    const last = this.#items.length - 1;
    const to = Math.max(0, Math.min(last, number));
    if (last < 0) return;
    this.#current = to;
    const row = this.#layout.rows.findLast((one) => one.first <= to);
    const top = this.#offset() + row.top - this.#sticky() - 12;
    const bottom = this.#offset() + row.top + row.height + this.#foot() + 80;
    if (top < window.scrollY) window.scrollTo({ top });
    else if (bottom > window.scrollY + window.innerHeight) {
      window.scrollTo({ top: bottom - window.innerHeight });
    }
    this.#draw();
    if (focus) this.#tiles.get(to)?.firstElementChild.focus({ preventScroll: true });
  }

  #clear() {
    for (const element of this.#tiles.values()) element.remove();
    this.#tiles.clear();
  }

  #foot() {
    return this.#context.several ? 31 : 26;
  }

  #offset() {
    return this.#element.getBoundingClientRect().top + window.scrollY;
  }

  #sticky() {
    return document.querySelector(".bar").offsetHeight;
  }

  #relayout() {
    const width = this.#element.clientWidth;
    if (!width) return;
    const isPhone = width < 560;
    const shapes = this.#items.map((one) => aspect(one.width, one.height));
    const breaks = new Map();
    if (this.#ends !== null && this.#ends > 0) {
      const number = this.#items.findIndex((one) => one.rank === this.#ends);
      if (number > 0) breaks.set(number, END_LINE);
    }
    this.#layout = rows(shapes, {
      width,
      target: isPhone ? Math.min(this.#target, width / 2.2) : this.#target,
      gap: isPhone ? 6 : 10,
      foot: this.#foot(),
      breaks,
    });
    this.#element.style.height = `${this.#layout.height}px`;
    this.#lines();
    this.#draw();
  }

  #lines() {
    for (const old of this.#element.querySelectorAll(".ends")) old.remove();
    for (const { top } of this.#layout.marks) {
      const line = h("p", { class: "ends" }, h("span", {}, "Relevance ends here"));
      line.style.transform = `translateY(${top}px)`;
      this.#element.append(line);
    }
  }

  #soon() {
    if (!this.#frame) {
      this.#frame = requestAnimationFrame(() => {
        this.#frame = 0;
        this.#draw();
      });
    }
  }

  #draw() {
    const above = window.scrollY - this.#offset();
    const height = window.innerHeight;
    const [first, end] = between(
      this.#layout.rows, above - AHEAD * height, above + (1 + AHEAD) * height, this.#foot(),
    );
    const wanted = new Set([this.#current]);
    for (const row of this.#layout.rows.slice(first, end)) {
      row.widths.forEach((_, at) => wanted.add(row.first + at));
    }
    for (const [number, element] of this.#tiles) {
      if (wanted.has(number) || element.contains(document.activeElement)) continue;
      element.remove();
      this.#tiles.delete(number);
    }
    for (const row of this.#layout.rows) {
      row.widths.forEach((width, at) => {
        const number = row.first + at;
        if (wanted.has(number)) this.#put(number, row.lefts[at], row.top, width, row.height);
      });
    }
    this.#handlers.moved();
    if (this.#items.length && above + (1 + NEAR_END) * height > this.#layout.height) {
      this.#handlers.more();
    }
  }

  #put(number, left, top, width, height) {
    let element = this.#tiles.get(number);
    if (!element) {
      element = tile(this.#items[number], this.#context);
      element.setAttribute("aria-posinset", number + 1);
      element.setAttribute("aria-setsize", this.#context.total());
      this.#tiles.set(number, element);
      mark(element, this.#handlers.isSelected(this.#items[number].uid));
      const next = [...this.#tiles.keys()].filter((other) => other > number);
      const before = next.length ? this.#tiles.get(Math.min(...next)) : null;
      this.#element.insertBefore(element, before); // in reading order, for screen readers and tab
    }
    for (const control of element.children) {
      control.tabIndex = number === this.#current ? 0 : -1;
    }
    place(element, left, top, width, height);
  }

  #numberOf(target) {
    const element = target.closest(".tile");
    for (const [number, known] of this.#tiles) if (known === element) return number;
    return null;
  }

  #focused(event) {
    const number = this.#numberOf(event.target);
    if (number === null || number === this.#current) return;
    this.#current = number;
    for (const [at, element] of this.#tiles) {
      for (const control of element.children) control.tabIndex = at === number ? 0 : -1;
    }
  }

  #click(event) {
    const link = event.target.closest("a.open");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    this.#handlers.open(this.#items[this.#numberOf(link)]);
  }

  /** What keys do with one picture. */
  #acts(number, event) {
    return {
      x: () => this.#handlers.pick(this.#items[number], event.shiftKey),
      m: () => this.#handlers.like(this.#items[number]),
    };
  }

  /** Do what a key does with the picture below the pointer, while the keyboard is elsewhere. */
  pointed(event) {
    const below = this.#element.querySelector(".tile:hover");
    if (below) this.#acts(this.#numberOf(below), event)[event.key.toLowerCase()]?.();
  }

  #key(event) {
    const number = this.#numberOf(event.target);
    if (number === null || event.ctrlKey || event.metaKey || event.altKey) return;
    const moves = {
      ArrowRight: () => this.go(number + 1),
      ArrowLeft: () => this.go(number - 1),
      ArrowDown: () => this.go(beside(this.#layout.rows, number, 1)),
      ArrowUp: () => this.go(beside(this.#layout.rows, number, -1)),
      Home: () => this.go(0),
      End: () => this.go(this.#items.length - 1),
      ...this.#acts(number, event),
    };
    const move = moves[event.key.length > 1 ? event.key : event.key.toLowerCase()];
    if (!move) return;
    event.preventDefault();
    move();
  }
}
