// A pool at a glance: what there is, how good, and a handful of it before anything is searched for.
import * as api from "./api.js";
import { byId, count, h, percent } from "./dom.js";

const HANDFUL = 24;
const SUGGESTED = 4;
const LONGEST = 48; // characters of a caption that is suggested as a search

/** The figures of an index. */
export function glance(index) {
  const figures = [
    [count(index.rows), "pairs in the pool"],
    [count((index.partitions ?? []).length), "partitions"],
    [percent(index.success, index.rows), "of pictures could be had"],
    [bestRecall(index), "of what an exact search finds"],
  ].filter(([figure]) => figure !== null && figure !== "–");
  const facts = [
    ["Model", index.model],
    ["Index version", h("code", {}, index.version)],
    ["Vector", `${index.dim} numbers`],
    ["Partitions", partitions(index.partitions ?? [])],
    ["Recall", recalls(index.recall)],
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

/** Every number in what is said of recall, with the words on the way to it. */
function flat(told, path = []) {
  if (typeof told === "number") return [[path, told]];
  if (!told || typeof told !== "object") return [];
  return Object.entries(told).flatMap(([name, value]) => flat(value, [...path, name]));
}

function bestRecall(index) {
  const measured = flat(index.recall).map(([, value]) => value).filter((value) => value > 0 && value <= 1);
  const recall = measured.length ? Math.min(...measured) : index.recall_target;
  return recall ? `${Number((100 * recall).toFixed(1))} %` : null;
}

const recalls = (told) => {
  const measured = flat(told).filter(([, value]) => value > 0 && value <= 1);
  if (!measured.length) return null;
  return h("ul", { class: "plain" }, measured.map(([path, value]) =>
    h("li", {}, `${path.join(", ").replaceAll("_", " ")}: ${Number((100 * value).toFixed(1))} %`)));
};

/**
 * Some pairs at random: uids are evenly spread, so a beginning of them that few have is a sample.
 * Where uids may not be asked about, what lies in a random direction.
 */
export async function handful(index, signal) {
  const embedding = Array.from({ length: index.dim }, () => Math.random() - 0.5);
  const body = { index: index.name, terms: [{ embedding, weight: 1 }], side: "image", k: HANDFUL, offset: 0 };
  if (index.columns?.some((column) => column.name === "uid")) {
    const digits = Math.max(0, Math.floor(Math.log(index.vectors / (2 * HANDFUL)) / Math.log(16)));
    const start = Array.from({ length: digits }, () => Math.floor(16 * Math.random()).toString(16)).join("");
    if (start) body.where = `uid LIKE '${start}%'`;
  }
  return (await api.search({ body, files: new Map() }, signal)).results;
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
  byId("start-tries").replaceChildren(...suggestions(results).map((caption) =>
    h("button", { type: "button", class: "try", onclick: () => search(caption) }, caption)));
}
