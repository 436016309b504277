// Asking the service. What is asked is built in request.js, what is shown of it elsewhere.

const TRIES = 3;

/** What the service, or the way to it, has against a request. */
export class Refusal extends Error {
  constructor(told, status = 0) {
    super(`${told.where}: ${told.found}`);
    this.told = told;
    this.status = status;
  }
}

const GONE = {
  where: "the service",
  found: "no answer",
  expected: "an answer",
  advice: "It may have been stopped, or the network is down. Try again in a moment.",
};

async function refusal(response) {
  let told = null;
  try {
    told = (await response.json()).error;
  } catch {
    // Not ours: a proxy's page, or an answer cut short.
  }
  return new Refusal(
    told ?? {
      where: "the service",
      found: `status ${response.status}`,
      expected: "an answer",
      advice: "Try again; if it stays, the service's log has the reason.",
    },
    response.status,
  );
}

function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, 1000 * seconds);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}

/**
 * A response that is well. One that says that the service is busy is asked again after the time
 * that it names; `busy` hears of that.
 */
async function asked(url, options = {}, busy = () => {}) {
  for (let tried = 1; ; tried += 1) {
    let response;
    try {
      response = await fetch(url, options);
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Refusal(GONE);
    }
    if (response.ok) return response;
    const wait = Number(response.headers.get("Retry-After"));
    if (![429, 503].includes(response.status) || !wait || tried === TRIES) {
      throw await refusal(response);
    }
    busy(wait);
    await pause(wait, options.signal);
  }
}

/** A body as JSON, or with the images of its terms as parts beside it. */
function packed(body, files) {
  if (!files.size) {
    return { body: JSON.stringify(body), headers: { "Content-Type": "application/json" } };
  }
  const form = new FormData();
  form.append("request", JSON.stringify(body));
  for (const [name, file] of files) form.append(name, file, name);
  return { body: form };
}

/** The indices that are served. */
export const indices = async () => (await (await asked("/v1/indices")).json()).indices;

/** Let this browser in by the service's token, until it is closed. */
export const signIn = (token) =>
  asked("/v1/session", { method: "POST", headers: { Authorization: `Bearer ${token}` } });

/** The answer to a search. */
export async function search({ body, files }, signal, busy) {
  const options = { method: "POST", signal, ...packed(body, files) };
  return (await asked("/v1/search", options, busy)).json();
}

/** A pair with all its columns. */
export async function item(uid, index, signal) {
  const response = await asked(`/v1/items/${uid}${named(index)}`, { signal });
  return response.json();
}

/** A file of uids, rows or urls, and the name that it has been given. */
export async function subset({ body, files }) {
  const response = await asked("/v1/subsets", { method: "POST", ...packed(body, files) });
  const disposition = response.headers.get("Content-Disposition") ?? "";
  const name = /filename="?([^";]+)"?/.exec(disposition)?.[1] ?? `subset.${body.format}`;
  return { blob: await response.blob(), name };
}

const SIZES = [256, 512];

/** The url of a stored image; of a thumbnail that is at least as large as `pixels`. */
export function image(uid, index, pixels = null) {
  const size = pixels && (SIZES.find((known) => known >= pixels) ?? SIZES.at(-1));
  const options = new URLSearchParams();
  if (size) options.set("size", size);
  if (index) options.set("index", index);
  const query = options.toString();
  return `/v1/images/${uid}${query && "?"}${query}`;
}

const named = (index) => (index ? `?index=${encodeURIComponent(index)}` : "");
