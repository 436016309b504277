// Pairs that a person has chosen, and what is done with them together.
import { byId, count, counted, say } from "./dom.js";

export class Selection {
  #pairs = new Map(); // uid to pair, in the order of choice
  #last = null;

  /** actions: changed, compare, like, download. */
  constructor(actions) {
    this.actions = actions;
    byId("selection-clear").addEventListener("click", () => this.clear());
    byId("selection-compare").addEventListener("click", () => actions.compare([...this.#pairs.values()]));
    byId("selection-like").addEventListener("click", () => actions.like(this.uids));
    byId("selection-download").addEventListener("click", () => actions.download());
  }

  get uids() {
    return [...this.#pairs.keys()];
  }

  has(uid) {
    return this.#pairs.has(uid);
  }

  /** Choose a pair or give it up; with `isRange` all between it and the last one in `shown`. */
  pick(pair, isRange = false, shown = []) {
    const from = shown.findIndex((one) => one.uid === this.#last);
    const to = shown.findIndex((one) => one.uid === pair.uid);
    if (isRange && from >= 0 && to >= 0) {
      for (const one of shown.slice(Math.min(from, to), Math.max(from, to) + 1)) this.#pairs.set(one.uid, one);
    } else if (!this.#pairs.delete(pair.uid)) this.#pairs.set(pair.uid, pair);
    this.#last = pair.uid;
    this.#draw();
  }

  clear() {
    this.#pairs.clear();
    this.#draw();
  }

  #draw() {
    const number = this.#pairs.size;
    byId("selection").hidden = !number;
    document.body.classList.toggle("selecting", number > 0);
    byId("selection-count").textContent = `${count(number)} selected`;
    byId("selection-compare").disabled = number < 2;
    say(`${counted(number, "pair")} selected`);
    this.actions.changed();
  }
}
