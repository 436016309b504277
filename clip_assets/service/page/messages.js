// What the page says where there is no picture to show, and the line above the pictures.
import { byId, count, h, icon, sentences } from "./dom.js";
import { filtersOf } from "./state.js";

/** Fill the message; a kind is one of `KINDS`. */
export function drawMessage(message) {
  byId("message").hidden = false;
  byId("message").replaceChildren(...KINDS[message.kind](message));
}

const KINDS = {
  empty: ({ state, clear }) => {
    const number = filtersOf(state);
    return [
      icon("none"),
      h("h2", {}, "Nothing was found"),
      h("p", {}, number
        ? `No picture passes ${number === 1 ? "the filter" : `all ${number} filters`}. A search without filters always finds some.`
        : "The index has no picture that this search may show."),
      number ? h("button", { type: "button", class: "primary", onclick: clear }, number === 1 ? "Remove the filter" : "Remove the filters") : "",
    ];
  },
  condition: ({ told, remove }) => [
    icon("none"),
    h("h2", {}, "The condition cannot be used"),
    h("p", { class: "told" }, sentences({ found: told.found, expected: told.expected.split(";")[0] })),
    h("button", { type: "button", class: "primary", onclick: remove }, "Remove the condition"),
  ],
  failed: ({ told, again }) => [
    icon("broken"),
    h("h2", {}, "That did not work"),
    h("p", { class: "told" }, h("b", {}, told.where), ": ", told.found),
    h("p", {}, sentences({ ...told, found: "" })),
    h("button", { type: "button", class: "primary", onclick: again }, "Try again"),
    told.request_id ? h("p", { class: "request" }, "request ", h("code", {}, told.request_id)) : "",
  ],
  locked: ({ enter }) => {
    const wrong = h("p", { class: "wrong", role: "alert" });
    const token = h("input", { type: "password", name: "token", autocomplete: "current-password", required: true });
    const submit = async (event) => {
      event.preventDefault();
      wrong.textContent = (await enter(token.value)) ?? "";
      token.select();
    };
    return [
      icon("lock"),
      h("h2", {}, "This service asks for a token"),
      h("p", {}, "Who runs it has given it a token, and can tell you. It is kept until this browser is closed."),
      h("form", { class: "token", onsubmit: submit },
        h("label", {}, "Token ", token), h("button", { class: "primary" }, "Enter")),
      wrong,
    ];
  },
  stopped: ({ told, again }) => [
    h("h2", {}, "No more came"),
    h("p", {}, sentences(told)),
    h("button", { type: "button", onclick: again }, "Try again"),
  ],
  unserved: ({ name, others, choose }) => [
    icon("none"),
    h("h2", {}, "This index is not served any more"),
    h("p", {}, h("b", {}, name), others.length ? " has gone. The same search of another:" : " has gone, and there is no other."),
    h("p", {}, others.map((other) => h("button", { type: "button", class: "primary", onclick: () => choose(other) }, other))),
  ],
  searching: () => [
    h("span", { class: "soon" }, icon("search")),
    h("h2", { class: "soon" }, "Searching …"),
    h("p", { class: "late" }, "This takes a while. The first search after a start waits for the model."),
  ],
  busy: ({ seconds }) => [icon("none"), h("h2", {}, "Many are searching"),
    h("p", {}, `Asking again in ${count(Math.ceil(seconds))} s.`)],
  none: () => [
    icon("none"),
    h("h2", {}, "No index is served yet"),
    h("p", {}, "Build one with ", h("code", {}, "clip-assets run"), ", then start the service again."),
  ],
};

/** The line above the pictures. */
export function summary(results) {
  const { answer, shown, hasMore } = results;
  if (!answer || !shown.length) return [];
  const took = Object.values(answer.took_ms ?? {}).filter(Number.isFinite).reduce((sum, one) => sum + one, 0);
  const folded = results.list.reduce((sum, one) => sum + (one.folded?.length ?? 0), 0);
  return [
    h("strong", {}, hasMore ? `Best ${count(results.list.length)}` : `${count(results.list.length)} found`),
    folded ? h("span", {}, `${count(folded)} folded`) : "",
    took ? h("span", { title: "in the service" }, `${took < 10 ? took.toFixed(1) : Math.round(took)} ms`) : "",
  ].filter(Boolean);
}
