// Bars that can be brushed, by pointer and by keyboard: two sliders over a drawing.
import { h, short } from "./dom.js";

const NS = "http://www.w3.org/2000/svg";
const LEAST_SHARE = 0.02; // of the width: a shorter stroke was a click

/**
 * A histogram over `edges`, n + 1 of them, with n `counts`.
 *
 * chosen: [from, below], or null for all; an end that is null is open. one: whether only the lower
 * end can be chosen. Calls `choose` with such a pair, or with null, when a stroke or a key press has
 * ended.
 */
export class Histogram {
  #edges = [];
  #chosen = null;
  #start = null;

  constructor({ label, choose, one = false, round = (value) => value, say = short }) {
    this.choose = choose;
    this.one = one;
    this.round = round;
    this.sayValue = say;
    this.bars = document.createElementNS(NS, "svg");
    this.bars.setAttribute("preserveAspectRatio", "none");
    this.bars.setAttribute("aria-hidden", "true");
    this.thumbs = (one ? ["least"] : ["least", "most"]).map((end) => this.#thumb(`${label}, ${end}`));
    this.plot = h("div", { class: "plot" }, this.bars, this.thumbs);
    this.low = h("span");
    this.high = h("span");
    this.element = h("div", { class: "histogram" }, this.plot, h("div", { class: "scale" }, this.low, this.high));
    this.plot.addEventListener("pointerdown", (event) => this.#down(event));
    this.plot.addEventListener("pointermove", (event) => this.#move(event));
    this.plot.addEventListener("pointerup", (event) => this.#up(event));
    this.plot.addEventListener("pointercancel", () => this.#cancel());
  }

  /** Show other bars, or none at all where there is nothing to choose. */
  show({ edges, counts }, chosen) {
    this.#edges = edges;
    this.element.hidden = edges.length < 2 || edges[0] === edges.at(-1);
    if (this.element.hidden) return;
    const most = Math.max(1, ...counts);
    this.bars.setAttribute("viewBox", `0 0 ${counts.length} 1`);
    this.bars.replaceChildren(
      ...counts.map((number, at) => {
        const bar = document.createElementNS(NS, "rect");
        const height = number ? Math.max(0.03, Math.sqrt(number / most)) : 0;
        const box = { x: at + 0.08, y: 1 - height, width: 0.84, height };
        for (const [name, value] of Object.entries(box)) bar.setAttribute(name, value);
        return bar;
      }),
    );
    this.mark(chosen);
  }

  /** Show what is chosen. */
  mark(chosen) {
    this.#chosen = chosen;
    const [from, below] = this.#ends();
    const span = this.#span();
    [...this.bars.children].forEach((bar, at) => {
      const middle = this.#edges[at] + (this.#edges[at + 1] - this.#edges[at]) / 2;
      bar.classList.toggle("outside", middle < from || middle > below);
    });
    this.thumbs.forEach((thumb, at) => {
      const value = at ? below : from;
      thumb.style.left = `${100 * Math.min(1, Math.max(0, (value - this.#edges[0]) / span))}%`;
      thumb.setAttribute("aria-valuemin", this.#edges[0]);
      thumb.setAttribute("aria-valuemax", this.#edges.at(-1));
      thumb.setAttribute("aria-valuenow", value);
      thumb.setAttribute("aria-valuetext", this.sayValue(value));
    });
    this.low.textContent = this.sayValue(from);
    this.high.textContent = this.sayValue(below);
    this.element.classList.toggle("chosen", chosen !== null);
  }

  #span() {
    return this.#edges.at(-1) - this.#edges[0];
  }

  #ends() {
    const [from, below] = this.#chosen ?? [null, null];
    return [from ?? this.#edges[0], below ?? this.#edges.at(-1)];
  }

  #thumb(label) {
    const thumb = h("span", { class: "thumb", role: "slider", tabindex: "0", "aria-label": label });
    thumb.addEventListener("keydown", (event) => this.#key(event));
    return thumb;
  }

  #valueAt(event) {
    const box = this.plot.getBoundingClientRect();
    const share = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    return this.#edges[0] + share * this.#span();
  }

  #down(event) {
    if (event.button) return;
    event.preventDefault();
    this.plot.setPointerCapture(event.pointerId);
    const grabbed = this.thumbs.indexOf(event.target);
    const [from, below] = this.#ends();
    const value = this.#valueAt(event);
    // A thumb is moved against the other one; a stroke anywhere else begins anew.
    const other = grabbed === 1 || this.one ? from : below;
    const anchor = this.one ? this.#edges.at(-1) : value;
    this.#start = { anchor: grabbed < 0 ? anchor : this.one ? this.#edges.at(-1) : other, first: value, grabbed };
    if (grabbed >= 0) event.target.focus();
  }

  #move(event) {
    if (!this.#start) return;
    const value = this.#valueAt(event);
    this.mark([Math.min(this.#start.anchor, value), Math.max(this.#start.anchor, value)]);
  }

  #up(event) {
    if (!this.#start) return;
    const { first, grabbed } = this.#start;
    const value = this.#valueAt(event);
    this.#start = null;
    const isClick = grabbed < 0 && Math.abs(value - first) < LEAST_SHARE * this.#span();
    if (isClick && !this.one) this.#end(null);
    else this.#end(this.one ? [value, this.#edges.at(-1)] : this.#chosen);
  }

  #cancel() {
    this.#start = null;
    this.mark(null);
  }

  #key(event) {
    const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -5, PageUp: 5 };
    const isTop = this.thumbs.indexOf(event.target) === 1;
    const [from, below] = this.#ends();
    let value = isTop ? below : from;
    if (event.key in steps) value += (steps[event.key] * this.#span()) / 50;
    else if (event.key === "Home") value = isTop ? from : this.#edges[0];
    else if (event.key === "End") value = isTop ? this.#edges.at(-1) : below;
    else return;
    event.preventDefault();
    this.#end(isTop ? [from, Math.max(from, value)] : [Math.min(value, below), below]);
  }

  #end(chosen) {
    const [from, below] = chosen ?? [-Infinity, Infinity];
    // What reaches the outermost bar means all beyond it, too.
    const least = from <= this.#edges[0] ? null : this.round(from);
    const most = below >= this.#edges.at(-1) ? null : this.round(below);
    const ends = least === null && most === null ? null : [least, most];
    this.mark(ends);
    this.choose(ends);
  }
}
