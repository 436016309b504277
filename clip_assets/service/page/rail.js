// Similarity down the page: how it falls along the results, where relevance ends, where one is.
import { byId, similarity } from "./dom.js";

const NS = "http://www.w3.org/2000/svg";
const WIDTH = 56;

export class Rail {
  #box = byId("rail");
  #layout = null;
  #items = [];

  constructor() {
    this.curve = this.#shape("path", "curve");
    this.end = this.#shape("line", "end");
    this.window = this.#shape("rect", "window");
    const drag = (event) => {
      if (!event.buttons) return;
      const box = this.#box.getBoundingClientRect();
      const share = Math.min(1, Math.max(0, (event.clientY - box.top) / box.height));
      window.scrollTo({ top: this.#offset() + share * this.#layout.height - window.innerHeight / 2 });
    };
    this.#box.addEventListener("pointerdown", (event) => {
      this.#box.setPointerCapture(event.pointerId);
      event.preventDefault();
      drag(event);
    });
    this.#box.addEventListener("pointermove", drag);
  }

  #shape(name, className) {
    const shape = document.createElementNS(NS, name);
    shape.setAttribute("class", className);
    byId("rail-drawing").append(shape);
    return shape;
  }

  #offset() {
    return byId("grid").getBoundingClientRect().top + window.scrollY;
  }

  /** Draw the curve of these results in their layout; nothing where they fit into the window. */
  show(items, layout, ends) {
    this.#layout = layout;
    this.#items = items;
    this.#box.hidden = items.length < 2 || layout.height < window.innerHeight;
    if (this.#box.hidden) return;
    const values = items.map((one) => one.similarity);
    const top = Math.max(...values);
    const low = Math.min(...values);
    const across = (value) => 6 + ((WIDTH - 12) * (value - low)) / Math.max(1e-6, top - low);
    const points = layout.rows.map((row) => [across(values[row.first]), this.#share(row.top)]);
    points.push([across(values.at(-1)), 1000]);
    this.curve.setAttribute("d", `M0 0L${points.map((point) => point.join(" ")).join("L")}L0 1000Z`);
    const mark = layout.marks[0];
    this.end.toggleAttribute("hidden", !mark || ends === null);
    if (mark) {
      const y = this.#share(mark.top);
      for (const [name, value] of Object.entries({ x1: 0, x2: WIDTH, y1: y, y2: y })) this.end.setAttribute(name, value);
    }
    byId("rail-top").textContent = similarity(top, 2);
    byId("rail-low").textContent = similarity(low, 2);
    this.moved();
  }

  #share(top) {
    return (1000 * top) / this.#layout.height;
  }

  /** Show where the window is. */
  moved() {
    if (this.#box.hidden || !this.#layout) return;
    const from = Math.max(0, this.#share(window.scrollY - this.#offset()));
    const height = Math.min(1000 - from, this.#share(window.innerHeight));
    const box = { x: 0.5, y: Math.min(from, 990), width: WIDTH - 1, height: Math.max(8, height) };
    for (const [name, value] of Object.entries(box)) this.window.setAttribute(name, value);
  }
}
