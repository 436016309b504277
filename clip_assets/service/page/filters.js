// The panel of filters: histograms and lists of what was found, and one condition in words.
import { byId, count, h, sentences, short, similarity } from "./dom.js";
import { Histogram } from "./histogram.js";
import { canFilter } from "./request.js";
import { BLANK, filtersOf, LISTS, RANGES } from "./state.js";

const LISTED = 8; // values of a list that are shown

const rounding = (digits) => (value) => Number(value.toFixed(digits));

const TITLES = {
  width: "Width of the original", aspect: "Shape", date: "Taken", host: "Host", language: "Language", partition: "Partition",
};
const SHAPES = [["portrait", [null, 0.95]], ["square", [0.95, 1.05]], ["landscape", [1.05, null]]];

/** What no filter narrows. */
export const NO_FILTERS = Object.fromEntries(
  ["least", "ends", "where", ...RANGES, ...LISTS].map((name) => [name, BLANK[name]]),
);

export class Filters {
  #store;
  #index;
  #base = null;
  #wasWhere = false;
  #whole = new Set(); // lists that are shown whole

  constructor(store, index) {
    this.#store = store;
    this.#index = index;
    this.similarity = new Histogram({
      label: "Similarity", one: true, round: rounding(3), say: (value) => similarity(value, 2),
      choose: (chosen) => store.set({ least: chosen && chosen[0] }, { back: true }),
    });
    this.ranges = {
      width: this.#range("width", rounding(0), (value) => `${short(Math.round(value))} px`),
      aspect: this.#range("aspect", rounding(3), (value) => `${value.toFixed(2)} : 1`),
      date: this.#range("date", rounding(0), (seconds) => new Date(1000 * seconds).toISOString().slice(0, 10)),
    };
    byId("similarity-facet").append(this.similarity.element);
    for (const name of RANGES) byId(`${name}-facet`).append(this.ranges[name].element);
    byId("aspect-facet").append(this.#shapes());
    this.#controls();
    store.subscribe((state) => this.draw(state));
    this.draw(store.state);
  }

  #range(name, round, say) {
    return new Histogram({
      label: TITLES[name], round, say,
      choose: (chosen) => this.#store.set({ [name]: chosen }, { back: true }),
    });
  }

  #shapes() {
    const choose = (range) => () => {
      const isChosen = String(this.#store.state.aspect) === String(range);
      this.#store.set({ aspect: isChosen ? null : range }, { back: true });
    };
    return h(
      "div",
      { class: "shapes" },
      SHAPES.map(([name, range]) =>
        h("button", { type: "button", "aria-pressed": "false", data: { range: String(range) }, onclick: choose(range) },
          h("span", { class: `shape ${name}`, "aria-hidden": "true" }), name),
      ),
    );
  }

  #controls() {
    const store = this.#store;
    byId("ends").addEventListener("change", (event) => store.set({ ends: event.target.checked }, { back: true }));
    byId("fold").addEventListener("change", (event) => store.set({ fold: event.target.checked }));
    byId("recall").addEventListener("change", (event) =>
      store.set({ recall: event.target.value ? Number(event.target.value) : null }));
    byId("where-form").addEventListener("submit", (event) => {
      event.preventDefault();
      store.set({ where: byId("where").value.trim() }, { back: true });
    });
    byId("where").addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      byId("where-form").requestSubmit();
    });
    byId("where-facet").querySelector("summary").addEventListener("click", () => {
      // It opens after this click.
      if (!byId("where-facet").open) requestAnimationFrame(() => byId("where").focus());
    });
    byId("no-filters").addEventListener("click", () => store.set(NO_FILTERS, { back: true }));
  }

  /** Show what an answer counted; `base` is what bars and lists are drawn from. */
  faceted(base, facets) {
    if (base) this.#base = base;
    this.facets = facets;
    this.draw(this.#store.state);
  }

  /** Say beside the condition what is wrong with it. */
  refuse(told) {
    const line = byId("where-error");
    line.hidden = !told;
    // The columns that there are stand below.
    line.textContent = told ? sentences({ ...told, expected: told.expected.split(";")[0], advice: "" }) : "";
    byId("where").setAttribute("aria-invalid", String(Boolean(told)));
    if (told) byId("where-facet").open = true;
  }

  draw(state) {
    const number = filtersOf(state);
    byId("filters-count").textContent = number || "";
    byId("filters-count").hidden = !number;
    byId("no-filters").hidden = !number;
    byId("ends").checked = state.ends;
    byId("fold").checked = state.fold;
    byId("recall").value = state.recall ?? "";
    if (document.activeElement !== byId("where")) byId("where").value = state.where;
    if (state.where && !this.#wasWhere) byId("where-facet").open = true;
    this.#wasWhere = Boolean(state.where);
    for (const button of document.querySelectorAll(".shapes button")) {
      button.setAttribute("aria-pressed", String(button.dataset.range === String(state.aspect)));
    }
    this.#columns();
    this.#drawFacets(state);
  }

  #drawFacets(state) {
    const base = this.#base;
    byId("facets").hidden = !base?.over;
    if (!base?.over) return;
    const empty = { edges: [], counts: [] };
    byId("over").textContent = `Counted over the first ${count(base.over)}`;
    const range = base.similarity ?? empty;
    byId("similarity-facet").hidden = range.edges.length < 2;
    this.similarity.show(range, state.least === null ? null : [state.least, null]);
    for (const name of RANGES) {
      byId(`${name}-facet`).hidden = !base[name]?.edges?.length || !canFilter(name, this.#index());
      this.ranges[name].show(base[name] ?? empty, state[name]);
    }
    for (const name of LISTS) this.#list(name, base[name] ?? [], state[name]);
  }

  #list(name, values, chosen) {
    const box = byId(`${name}-facet`);
    const isShown = canFilter(name, this.#index()) && (values.length > 1 || chosen.length > 0);
    box.hidden = !isShown;
    if (!isShown) return;
    const had = box.contains(document.activeElement) ? document.activeElement.value : null;
    const isWhole = this.#whole.has(name);
    const known = isWhole ? values : values.slice(0, LISTED);
    const extra = chosen.filter((one) => !known.some(([value]) => value === one)).map((one) => [one, null]);
    const most = Math.max(1, ...known.map(([, number]) => number));
    const rows = [...known, ...extra].map(([value, number]) => this.#choice(name, value, number, most, chosen));
    const toggle = () => {
      if (!this.#whole.delete(name)) this.#whole.add(name);
      this.draw(this.#store.state);
      box.querySelector("button")?.focus();
    };
    const rest = values.length - LISTED;
    const more = rest > 0 && h("button", { type: "button", class: "text", "aria-expanded": String(isWhole), onclick: toggle },
      isWhole ? "Fewer" : `${count(rest)} more`);
    box.replaceChildren(h("legend", {}, TITLES[name]), ...rows, ...[more].filter(Boolean));
    if (had !== null) box.querySelector(`input[value="${CSS.escape(had)}"]`)?.focus();
  }

  #choice(name, value, number, most, chosen) {
    const bar = h("span", { class: "bar-of" });
    bar.style.width = `${(100 * (number ?? 0)) / most}%`;
    const toggle = (event) => {
      const others = this.#store.state[name].filter((one) => one !== value);
      this.#store.set({ [name]: event.target.checked ? [...others, value] : others }, { back: true });
    };
    const box = h("input", { type: "checkbox", value, onchange: toggle });
    box.checked = chosen.includes(value);
    return h("label", { class: "choice" }, bar, box, h("span", { class: "value" }, value),
      h("span", { class: "figure" }, number === null ? "" : count(number)));
  }

  #columns() {
    const list = byId("columns");
    const columns = this.#index()?.columns ?? [];
    if (list.childElementCount === columns.length) return;
    const insert = (name) => () => {
      const field = byId("where");
      field.setRangeText(name, field.selectionStart, field.selectionEnd, "end");
      field.focus();
    };
    list.replaceChildren(...columns.map(({ name, type, words }) =>
      h("li", {}, h("button", { type: "button", title: words ?? "", onclick: insert(name) },
        h("code", {}, name), h("span", {}, type)))));
  }
}
