// What the service answered: pages of results, late answers dropped, near-equal ones opened.
import * as api from "./api.js";
import { baseFor, PAGE, searchFor } from "./request.js";
import { filtersOf, termsOf } from "./state.js";

/** The results of the current search; `changed` hears what became of it. */
export class Results {
  #asking = null; // what is on its way, to be given up for a newer search
  #more = null;
  #request = null;
  #baseOf = null;

  constructor({ changed, faceted, busy }) {
    this.changed = changed;
    this.faceted = faceted;
    this.busy = busy;
    this.clear();
  }

  clear() {
    this.#asking?.abort();
    this.#more?.abort();
    this.#more = null;
    this.list = [];
    this.answer = null;
    this.hasMore = false;
    this.failure = null;
    this.isWaiting = false;
  }

  /** Ask for what a state says; the results that are there stay until the new ones come. */
  async find(state, index) {
    this.#asking?.abort();
    this.#more?.abort();
    this.#more = null;
    const asking = new AbortController();
    this.#asking = asking;
    this.isWaiting = true;
    this.failure = null;
    this.changed("waiting");
    try {
      const request = searchFor(state, index);
      const answer = await api.search(request, asking.signal, this.busy);
      if (asking.signal.aborted) return;
      this.#request = request;
      this.#take(answer);
      this.isWaiting = false;
      this.changed("found");
      await this.#facets(state, index, answer, asking.signal);
    } catch (error) {
      if (error.name === "AbortError" || asking.signal.aborted) return;
      if (!(error instanceof api.Refusal)) throw error;
      this.clear();
      this.failure = error;
      this.changed("failed");
    }
  }

  #take(answer) {
    this.answer = answer;
    this.list = ranked(answer.results, 0);
    this.hasMore = answer.more;
  }

  /** What the facets are counted over: the search without what is chosen in them. */
  async #facets(state, index, answer, signal) {
    if (!filtersOf({ ...state, where: "" })) {
      this.#baseOf = baseKey(state);
      this.faceted(answer.facets, answer.facets);
      return;
    }
    if (this.#baseOf === baseKey(state)) {
      this.faceted(null, answer.facets);
      return;
    }
    let base;
    try {
      base = await api.search(baseFor(state, index), signal, this.busy);
    } catch (error) {
      // The results are there: bars that are not do not take them away.
      if (!(error instanceof api.Refusal)) throw error;
      this.faceted(answer.facets, answer.facets);
      return;
    }
    if (signal.aborted) return;
    this.#baseOf = baseKey(state);
    this.faceted(base.facets, answer.facets);
  }

  /** Ask for the next page again, after it was refused. */
  again() {
    this.hasMore = true;
    this.failure = null;
    return this.more();
  }

  /** Ask for the next page, once. */
  async more() {
    if (this.#more || this.isWaiting || !this.hasMore || !this.#request) return;
    const asking = new AbortController();
    this.#more = asking;
    const { body, files } = this.#request;
    const offset = this.answer.offset + this.answer.results.length;
    try {
      const request = { body: { ...body, offset, k: PAGE, facets: false }, files };
      const answer = await api.search(request, asking.signal, this.busy);
      if (asking.signal.aborted) return;
      const known = new Set(this.list.map((one) => one.uid));
      const fresh = answer.results.filter((one) => !known.has(one.uid));
      this.list.push(...ranked(fresh, offset));
      this.answer = { ...answer, facets: null, relevance_ends: this.answer.relevance_ends };
      this.hasMore = answer.more && answer.results.length > 0;
      this.#more = null;
      this.changed("more");
    } catch (error) {
      if (error.name === "AbortError" || asking.signal.aborted) return;
      if (!(error instanceof api.Refusal)) throw error;
      this.hasMore = false;
      this.#more = null;
      this.failure = error;
      this.changed("stopped");
    }
  }

  /** Show what is folded into a result beside it, or fold it again. */
  async unfold(result, index) {
    if (result.unfolded) {
      result.unfolded = null;
      this.changed("more");
      return;
    }
    const pairs = await Promise.all(result.folded.map((one) => this.#member(one, index)));
    result.unfolded = pairs;
    this.changed("more");
  }

  async #member(one, index) {
    try {
      return { ...(await api.item(one.uid, index)), ...one, member: true, folded: [] };
    } catch {
      return { ...one, member: true, folded: [], caption: "" };
    }
  }

  /** The results as they are shown: those that are opened have theirs behind them. */
  get shown() {
    return this.list.flatMap((one) => [one, ...(one.unfolded ?? [])]);
  }

  /** The pair of a uid, if it is among what has come. */
  of(uid) {
    return this.shown.find((one) => one.uid === uid) ?? null;
  }
}

const ranked = (results, offset) => results.map((one, at) => ({ ...one, rank: offset + at }));

const baseKey = (state) =>
  JSON.stringify([state.index, state.side, termsOf(state), state.where.trim(), state.recall]);
