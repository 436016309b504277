// One result in the grid: picture, similarity, caption, and what can be done with it.
import { image } from "./api.js";
import { h, host, icon, isWeb, similarity } from "./dom.js";

const SHARPEST = 2; // device pixels per pixel: more is not seen on a thumbnail

const LONGEST = 160; // characters of a caption that a line or a name needs

/** A result's caption, or what it is called without one. */
export const titleOf = (result) => (result.caption ?? "").trim() || "without a caption";

/** What a result is called in a name or a line: captions can be as long as books. */
export function nameOf(result) {
  const title = titleOf(result);
  return title.length > LONGEST ? `${title.slice(0, LONGEST).trimEnd()} …` : title;
}

/** The element of a result; `place` sets where it is, `mark` whether it is selected. */
export function tile(result, context) {
  const { index, pick, unfold, like, href, several, isSearch } = context;
  const open = h(
    "a",
    { class: "open", href: href(result.uid), draggable: "true", tabindex: "-1", data: { uid: result.uid } },
    h("span", { class: "frame" }),
    several && h("span", { class: "mix" }, shares(result.contributions)),
    h(
      "span",
      { class: "line" },
      isSearch && h("span", { class: "figure" }, similarity(result.similarity)),
      h("span", { class: "caption", dir: "auto" }, nameOf(result)),
    ),
  );
  open.addEventListener("dragstart", (event) => {
    event.dataTransfer.setData("application/x-clip-assets-uid", result.uid);
    event.dataTransfer.effectAllowed = "copy";
  });
  const picker = h(
    "button",
    {
      class: "pick",
      type: "button",
      tabindex: "-1",
      "aria-pressed": "false",
      "aria-label": `Select ${nameOf(result)}`,
      onclick: (event) => pick(result, event.shiftKey),
    },
    icon("tick"),
  );
  const similar = h(
    "button",
    {
      class: "alike",
      type: "button",
      tabindex: "-1",
      title: "More like this (M)",
      "aria-label": `More like ${nameOf(result)}`,
      onclick: () => like(result),
    },
    icon("like"),
  );
  const folded = result.folded?.length ? stack(result, unfold) : null;
  const element = h("article", { class: result.member ? "tile member" : "tile", "aria-label": nameOf(result) }, open, picker, similar, folded);
  element.dataset.uid = result.uid;
  element.isOpen = Boolean(result.unfolded);
  element.paint = (pixels) => paint(open.firstElementChild, result, image(result.uid, index, pixels));
  return element;
}

function stack(result, unfold) {
  const alike = result.folded.length;
  const words = `${alike} nearly equal to ${nameOf(result)}`;
  return h(
    "button",
    {
      class: "stack",
      type: "button",
      tabindex: "-1",
      "aria-expanded": String(Boolean(result.unfolded)),
      "aria-label": result.unfolded ? `Fold ${words}` : `Show ${words}`,
      onclick: () => unfold(result),
    },
    icon("stack"),
    result.unfolded ? "fold" : `+${alike}`,
  );
}

/** How much each term of a mix gave: plus terms grow from the left, minus terms from the right. */
function shares(contributions) {
  const all = contributions.reduce((sum, one) => sum + Math.abs(one), 0) || 1;
  return contributions.map((one) => {
    const share = h("span", { class: one < 0 ? "share minus" : "share" });
    share.style.width = `${(100 * Math.abs(one)) / all}%`;
    return share;
  });
}

/** Put the picture into its frame, once. */
function paint(frame, result, src) {
  if (frame.firstChild) return;
  const picture = h("img", { alt: "", decoding: "async", draggable: "false", referrerpolicy: "no-referrer" });
  picture.addEventListener("load", () => picture.classList.add("loaded"));
  withOriginal(picture, () => result.url, () => frame.replaceChildren(missing(result)));
  picture.src = src;
  frame.append(picture);
}

/** Where we have no pixels of a pair, as for an index that another tool made, show the original. */
export function withOriginal(picture, urlOf, fail) {
  let isOriginal = false;
  picture.addEventListener("error", () => {
    if (isOriginal || !isWeb(urlOf())) fail();
    else {
      isOriginal = true;
      picture.src = urlOf();
    }
  });
}

function missing(result) {
  const from = isWeb(result.url) ? host(result.url) : "";
  return h("span", { class: "missing" }, icon("broken"), "No picture", from && h("span", {}, from));
}

/** Where an element lies, and how large its picture is. */
export function place(element, left, top, width, height) {
  element.style.transform = `translate(${left}px, ${top}px)`;
  element.style.width = `${width}px`;
  element.style.setProperty("--height", `${height}px`);
  element.paint(Math.max(width, height) * Math.min(SHARPEST, window.devicePixelRatio || 1));
}

/** Whether an element's result is selected. */
export function mark(element, isSelected) {
  element.classList.toggle("selected", isSelected);
  element.querySelector(".pick").setAttribute("aria-pressed", String(isSelected));
}
