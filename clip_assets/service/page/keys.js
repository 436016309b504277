// Keys that work everywhere on the page, and the choice of light and dark.
import { byId } from "./dom.js";

const THEMES = ["", "light", "dark"];
const NAMES = { "": "as the system has it", light: "light", dark: "dark" };

/** `/` goes to the search, `?` shows the keys, Escape gives up the selection, Shift+D saves. */
export function shortcuts({ focus, clear, save, pointed }) {
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented) return; // a picture has had it
    const isWriting = event.target.closest("input:not([type=checkbox], [type=radio], [type=range]), textarea, select");
    if (isWriting || document.querySelector("dialog[open]") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "/") {
      event.preventDefault();
      focus();
    } else if (event.key === "?") byId("keys").showModal();
    else if (event.key === "Escape") clear();
    else if (event.key === "D") save();
    else pointed(event);
  });
}

/** Let the theme's button go round: the system's, light, dark. */
export function themes() {
  const button = byId("theme");
  const draw = () => {
    const theme = document.documentElement.dataset.theme ?? "";
    button.title = `Colours: ${NAMES[theme]}`;
    button.setAttribute("aria-label", `Colours: ${NAMES[theme]}. Change`);
  };
  button.addEventListener("click", () => {
    const now = THEMES.indexOf(document.documentElement.dataset.theme ?? "");
    const next = THEMES[(now + 1) % THEMES.length];
    if (next) document.documentElement.dataset.theme = next;
    else delete document.documentElement.dataset.theme;
    try {
      localStorage.setItem("clip-assets-theme", next);
    } catch {
      // Storage is forbidden: the choice lasts as long as the page.
    }
    draw();
  });
  draw();
}
