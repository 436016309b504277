// A pool at a glance: what there is, how good, and a handful of it before anything is searched for.
import * as api from "./api.js";
import { byId, count, h } from "./dom.js";

const HANDFUL = 24;
const AMONG = 120; // that the handful is drawn from
const SUGGESTED = 4;
const LONGEST = 48; // characters of a caption that is suggested as a search

/** The figures of an index. */
export function glance(index) {
  const figures = [
    [count(index.rows), "pairs in the pool"],
    [count((index.partitions ?? []).length), index.partitions?.length === 1 ? "partition" : "partitions"],
    [index.success && index.rows ? share(index.success / index.rows) : null, "of their pictures could be had"],
    [leastRecall(index), "of what an exact search finds"],
  ].filter(([figure]) => figure !== null);
  const facts = [
    ["Model", index.model],
    ["Index version", h("code", {}, index.version)],
    ["Vector", `${index.dim} numbers`],
    ["Partitions", partitions(index.partitions ?? [])],
    ["Measured recall", recalls(index)],
  ].filter(([, value]) => value);
  return [
    h("dl", { class: "figures" }, figures.map(([figure, words]) =>
      h("div", {}, h("dt", {}, words), h("dd", {}, figure)))),
    h("dl", { class: "facts" }, facts.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
  ];
}

function partitions(names) {
  if (names.length < 2) return names[0] ?? null;
  return `${count(names.length)}, ${names[0]} to ${names.at(-1)}`;
}

const KINDS = { text: "words", image: "an image" };
const SIDES = { image: "pictures", text: "captions" };
const share = (value) => `${Number((100 * value).toFixed(1))} %`;

/** What was measured for the recall that searches aim at: [side, kind, recall] of each. */
function measured(index) {
  return Object.entries(index.recall ?? {}).flatMap(([side, kinds]) =>
    Object.entries(kinds).flatMap(([kind, known]) => {
      const ofTen = known.filter((one) => one.k === 10);
      const enough = ofTen.filter((one) => one.target >= index.recall_target - 1e-9);
      const found = enough[0] ?? ofTen.at(-1);
      return typeof found?.recall === "number" ? [[side, kind, found.recall]] : [];
    }));
}

function leastRecall(index) {
  const all = measured(index).map(([, , recall]) => recall);
  return all.length ? share(Math.min(...all)) : null;
}

const recalls = (index) => {
  const all = measured(index);
  if (!all.length) return null;
  return h("ul", { class: "plain" }, all.map(([side, kind, recall]) =>
    h("li", {}, `${SIDES[side]} by ${KINDS[kind] ?? kind}: ${share(recall)}`)));
};

/**
 * Some pairs at random: uids are evenly spread, so those within a span of them are a sample.
 * Where they are not, or may not be asked about, what lies in a random direction.
 */
export async function handful(index, signal) {
  const embedding = Array.from({ length: index.dim }, () => Math.random() - 0.5);
  const body = { index: index.name, terms: [{ embedding, weight: 1 }], side: "image", k: AMONG, offset: 0 };
  const ask = async (further) => (await api.search({ body: { ...body, ...further }, files: new Map() }, signal)).results;
  const share = AMONG / index.vectors;
  const hasUids = share < 1 && index.columns?.some((column) => column.name === "uid");
  const some = hasUids ? await ask({ where: span(share) }) : [];
  return shuffled(some.length < HANDFUL ? await ask({}) : some).slice(0, HANDFUL);
}

/** A condition that holds for such a share of all uids. */
function span(share) {
  const from = Math.random() * (1 - share);
  const uid = (place) => `'${Math.floor(place * 2 ** 32).toString(16).padStart(8, "0")}'`;
  return `uid >= ${uid(from)} AND uid < ${uid(from + share)}`;
}

/** The same in a random order. */
function shuffled(list) {
  const places = list.map((one) => [Math.random(), one]);
  return places.sort(([a], [b]) => a - b).map(([, one]) => one);
}

/** Captions of a handful that read like something to search for. */
export function suggestions(results) {
  const captions = results.map((one) => (one.caption ?? "").trim());
  return [...new Set(captions.filter((caption) => caption.length > 5 && caption.length <= LONGEST && !caption.includes("\n")))].slice(0, SUGGESTED);
}

/** Fill the page's beginning. */
export function drawStart(index, results, search) {
  byId("start-title").textContent = `Search ${count(index.vectors)} pictures by what they show`;
  byId("start-glance").replaceChildren(...glance(index));
  const tries = suggestions(results);
  byId("start-words").hidden = !tries.length;
  byId("start-some").hidden = !results.length;
  byId("start-tries").replaceChildren(...tries.map((caption) =>
    h("button", { type: "button", class: "try", dir: "auto", onclick: () => search(caption) }, caption)));
}
