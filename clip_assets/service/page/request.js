// From the state to what the service is asked: terms, limits, and one condition on metadata.
import { LISTS, RANGES, termsOf } from "./state.js";
import { Refusal } from "./api.js";
import { kept } from "./images.js";

/** Results with a cosine of so much to a better one are folded into it. */
export const ALIKE = 0.94;

/** Results that are asked for at once. */
export const PAGE = 60;

const literal = (text) => `'${String(text).replaceAll("'", "''")}'`;
const anyOf = (value, values) => `${value} IN (${values.map(literal).join(", ")})`;

/** A value from one end of a range and below the other; an end that is null is open. */
function within(value, [from, below], end) {
  const least = from === null ? null : `${value} >= ${end(from)}`;
  const most = below === null ? null : `${value} < ${end(below)}`;
  return [least, most].filter(Boolean).join(" AND ");
}

/** For each facet: the columns it needs, and the condition that a choice in it means. */
const CONDITIONS = {
  width: {
    columns: ["original_width"],
    say: (range) => within("original_width", range, (value) => value),
  },
  aspect: {
    columns: ["original_width", "original_height"],
    say: (range) => within("original_width", range, (value) => `${value} * original_height`),
  },
  date: {
    columns: ["taken_at"],
    say: (range) => within("taken_at", range, (seconds) => literal(new Date(1000 * seconds).toISOString().slice(0, 19))),
  },
  host: { columns: ["url"], say: (hosts) => anyOf("lower(split_part(url, '/', 3))", hosts) },
  language: { columns: ["language"], say: (languages) => anyOf("language", languages) },
  partition: {
    columns: ["shard"],
    say: (partitions) => anyOf("split_part(shard, '/', 1)", partitions),
  },
};

/** Whether a facet can filter an index: whether its columns may be asked about. */
export const canFilter = (name, index) =>
  CONDITIONS[name].columns.every((column) => index?.columns?.some((known) => known.name === column));

/** The one condition of a search; null without any. */
export function where(state, index, { facets = true } = {}) {
  const typed = state.where.trim();
  const chosen = facets
    ? [...RANGES, ...LISTS]
        .filter((name) => state[name]?.length && canFilter(name, index))
        .map((name) => CONDITIONS[name].say(state[name]))
    : [];
  const all = [typed, ...chosen].filter(Boolean);
  return all.length > 1 ? all.map((one) => `(${one})`).join(" AND ") : (all[0] ?? null);
}

/** A term as the service takes it; the bytes of an image go into `files`. */
function termFor(term, files) {
  const { kind, value, weight } = term;
  if (kind === "text") return { text: value, weight };
  if (kind === "uid") return { uid: value, weight };
  if (kind === "url") return { image_url: value, weight };
  const file = kept(value);
  if (!file) {
    throw new Refusal({
      where: "your image",
      found: "a link to a search by an image that this browser has not",
      expected: "the image itself",
      advice: "Images that people drop stay with them. Drop the image here, or remove the term.",
    });
  }
  const name = `image${files.size}`;
  files.set(name, file);
  return { upload: name, weight };
}

/**
 * What a search asks: the body, and the images beside it.
 *
 * @throws Refusal for an image that is not on this device.
 */
export function searchFor(state, index, options = {}) {
  const files = new Map();
  const body = {
    index: state.index || null,
    terms: termsOf(state).map((term) => termFor(term, files)),
    side: state.side,
    where: where(state, index),
    fold: state.fold ? ALIKE : null,
    recall_target: state.recall,
  };
  if (state.ends) body.threshold_kind = "elbow";
  if (state.least !== null) Object.assign(body, { threshold: state.least, threshold_kind: "absolute" });
  return { body: { ...body, k: PAGE, offset: 0, facets: true, ...options }, files };
}

/** The same search without what is chosen in facets: what the facets are counted over. */
export function baseFor(state, index) {
  const wide = { ...state, least: null, ends: false };
  return searchFor(wide, index, { where: where(state, index, { facets: false }), k: 1 });
}
