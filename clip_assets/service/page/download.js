// The results, or chosen ones, as a file; and how a program asks for the same file.
import * as api from "./api.js";
import { byId, copy, counted, sentences, toast } from "./dom.js";
import { searchFor } from "./request.js";
import { termsOf } from "./state.js";

const FORM = "clip-assets-form"; // where this browser keeps which form was last wanted
const FORMS = ["npy", "parquet", "urls"];

export class Download {
  #dialog = byId("download");

  /** context: store, index, selection. */
  constructor(context) {
    this.context = context;
    byId("download-form").addEventListener("change", () => this.#draw());
    byId("download-form").addEventListener("input", () => this.#draw());
    byId("download-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#save();
    });
    byId("download-copy").addEventListener("click", () => copy(byId("download-command").textContent, "Command"));
  }

  open(what) {
    this.#choose(what);
    byId("download-error").hidden = true;
    this.#draw();
    this.#dialog.showModal();
  }

  /** Save the selection, or else the results, in the form that was last wanted. */
  async now() {
    if (!this.context.selection.uids.length && !termsOf(this.context.store.state).length) return;
    this.#choose("selected");
    try {
      await this.#fetch();
    } catch (error) {
      if (!(error instanceof api.Refusal)) throw error;
      toast(sentences(error.told));
    }
  }

  #choose(what) {
    const number = this.context.selection.uids.length;
    const chosen = this.#form.elements.what;
    chosen[0].disabled = !number;
    byId("download-selected").textContent = number ? counted(number, "selected pair") : "Selected pairs: none yet";
    chosen.value = number && what === "selected" ? "selected" : "search";
    const last = remembered();
    if (FORMS.includes(last)) this.#form.elements.format.value = last;
  }

  get #form() {
    return byId("download-form");
  }

  #request() {
    const { what, format, most } = this.#form.elements;
    const { state } = this.context.store;
    if (what.value === "selected") {
      const body = { index: state.index || null, uids: this.context.selection.uids, format: format.value };
      return { body, files: new Map() };
    }
    const { body, files } = searchFor(state, this.context.index());
    const { offset: _, facets: __, ...search } = body;
    return { body: { ...search, k: Math.max(1, Number(most.value) || 1), format: format.value }, files };
  }

  #draw() {
    byId("download-most").disabled = this.#form.elements.what.value !== "search";
    let command = "";
    try {
      command = commandFor(this.#request());
    } catch {
      // An image that is not here: the download itself says so.
    }
    byId("download-command").textContent = command;
    byId("download-more").hidden = !command;
  }

  async #fetch() {
    const { what, format } = this.#form.elements;
    const { blob, name } = await api.subset(this.#request());
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    remember(format.value);
    toast(`${what.value === "selected" ? "The selection" : "The results"}: ${name} saved`);
  }

  async #save() {
    const button = byId("download-save");
    button.disabled = true;
    byId("download-error").hidden = true;
    try {
      await this.#fetch();
      this.#dialog.close();
    } catch (error) {
      if (!(error instanceof api.Refusal)) throw error;
      byId("download-error").textContent = sentences(error.told);
      byId("download-error").hidden = false;
    } finally {
      button.disabled = false;
    }
  }
}

function remembered() {
  try {
    return localStorage.getItem(FORM);
  } catch {
    return null; // Storage is forbidden.
  }
}

function remember(form) {
  try {
    localStorage.setItem(FORM, form);
  } catch {
    // Storage is forbidden: the choice lasts as long as the page.
  }
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** The same request for a shell; none where it has images, which a shell has as files. */
function commandFor({ body, files }) {
  if (files.size) return "";
  return [
    `curl -fsS ${location.origin}/v1/subsets`,
    "-H 'Content-Type: application/json'",
    `-d ${quoted(JSON.stringify(body))}`,
    `-o subset.${body.format === "urls" ? "txt" : body.format}`,
  ].join(" \\\n  ");
}
