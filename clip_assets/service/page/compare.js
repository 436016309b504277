// Chosen pairs side by side; what they differ in stands out.
import { image } from "./api.js";
import { byId, h, host, similarity } from "./dom.js";
import { nameOf } from "./tile.js";

const MOST = 4;

const ROWS = [
  ["Caption", (pair) => nameOf(pair)],
  ["Similarity to the search", (pair) => similarity(pair.similarity)],
  ["Image and caption", (pair) => similarity(pair.pair_similarity)],
  ["Original size", (pair) => (pair.original_width ? `${pair.original_width} × ${pair.original_height}` : "–")],
  ["Host", (pair) => host(pair.url)],
  ["Partition", (pair) => pair.partition ?? "–"],
];

/** Open the first four of some pairs beside each other. */
export function compare(pairs, index, open) {
  const shown = pairs.slice(0, MOST);
  const heads = shown.map((pair) =>
    h("th", { scope: "col" },
      h("button", { type: "button", class: "picture", onclick: () => { byId("compare").close(); open(pair.uid); } },
        // Its size holds the place until it is loaded.
        h("img", { src: image(pair.uid, index, 512), alt: nameOf(pair), width: pair.width, height: pair.height }))));
  const rows = ROWS.map(([name, value]) => {
    const values = shown.map(value);
    const differs = new Set(values).size > 1;
    return h("tr", { class: differs ? "differs" : null }, h("th", { scope: "row" }, name),
      values.map((one) => h("td", { dir: "auto" }, one)));
  });
  byId("compare-note").textContent =
    pairs.length > MOST ? `The first ${MOST} of ${pairs.length} selected` : "What differs is set in bold";
  byId("compare-table").replaceChildren(
    h("caption", { class: "unseen" }, "Selected pairs side by side"),
    h("thead", {}, h("tr", {}, h("td", {}), heads)), h("tbody", {}, rows));
  byId("compare").showModal();
}
