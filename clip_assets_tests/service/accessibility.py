"""What a page must keep so that everybody can use it, measured in the browser.

Names and roles are those that Chromium gives to assistive technology; contrast and sizes are
computed from what is drawn. Rules are those of WCAG 2.2, level AA, that a program can check.
"""

from typing import Any

from playwright.sync_api import Page

INTERACTIVE = {
    "button", "link", "searchbox", "textbox", "checkbox", "radio", "slider", "combobox",
    "spinbutton", "switch", "menuitem", "tab",
}  # fmt: skip

NAMED = INTERACTIVE | {
    "dialog",
    "img",
    "image",
    "article",
    "region",
    "navigation",
    "search",
    "feed",
}

LEAST_CONTRAST = 4.5
LEAST_CONTRAST_LARGE = 3.0
LEAST_TARGET_PX = 24

_MEASURE = """
() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3]));
  const light = (rgb) => {
    const [r, g, b] = rgb.map((v) => v / 255)
      .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (a, b) => {
    const [high, low] = [light(a), light(b)].sort((x, y) => y - x);
    return (high + 0.05) / (low + 0.05);
  };
  const ground = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) {
      layers.unshift(rgba(getComputedStyle(at).backgroundColor));
    }
    return layers.reduce((below, top) => over(top, below), [255, 255, 255]);
  };
  const seen = (element) => {
    const box = element.getBoundingClientRect();
    return box.width > 1 && box.height > 1 && element.checkVisibility(
      { opacityProperty: true, visibilityProperty: true });
  };
  const called = (e) => `${e.tagName}#${e.id}.${e.className} ${e.textContent.slice(0, 30)}`;
  const root = document.querySelector("dialog[open]") ?? document.body;
  const texts = [], targets = [];
  for (const element of root.querySelectorAll("*")) {
    if (!seen(element) || element.closest("svg") || element.closest(":disabled")) continue;
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (own) {
      const style = getComputedStyle(element);
      const size = parseFloat(style.fontSize);
      const isLarge = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
      const below = ground(element);
      texts.push([called(element), ratio(over(rgba(style.color), below), below), isLarge]);
    }
    if (element.matches("button, select, input, textarea, [role=slider]")) {
      const box = (element.closest("label") ?? element).getBoundingClientRect();
      targets.push([called(element), box.width, box.height]);
    }
  }
  const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
  return { texts, targets, twice: ids.filter((id, at) => ids.indexOf(id) !== at),
    order: document.querySelectorAll("[tabindex]:not([tabindex='0'], [tabindex='-1'])").length,
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth };
}
"""


def faults(page: Page) -> list[str]:
    """What somebody could not use, read or name, of what the page shows now; empty is good."""
    return [*_unnamed(page), *_measured(page.evaluate(_MEASURE))]


def _unnamed(page: Page) -> list[str]:
    session = page.context.new_cdp_session(page)
    nodes: list[dict[str, Any]] = session.send("Accessibility.getFullAXTree")["nodes"]
    session.detach()
    wanted = [node for node in nodes if not node.get("ignored") and _of(node, "role") in NAMED]
    found = [f"{_of(node, 'role')} without a name" for node in wanted if not _of(node, "name")]
    if "main" not in {_of(node, "role") for node in nodes} and not _has_dialog(nodes):
        found.append("no main landmark")
    return found


def _has_dialog(nodes: list[dict[str, Any]]) -> bool:
    return any(_of(node, "role") == "dialog" for node in nodes)


def _of(node: dict[str, Any], what: str) -> str:
    return str(node.get(what, {}).get("value", "")).strip()


def _measured(seen: dict[str, Any]) -> list[str]:
    found = [
        f"contrast {ratio:.2f}: {what}"
        for what, ratio, is_large in seen["texts"]
        if ratio < (LEAST_CONTRAST_LARGE if is_large else LEAST_CONTRAST)
    ]
    found += [
        f"target of {width:.0f} x {height:.0f} px: {what}"
        for what, width, height in seen["targets"]
        if min(width, height) < LEAST_TARGET_PX
    ]
    found += [f"id twice: {name}" for name in seen["twice"]]
    if seen["order"]:
        found.append("an order of its own for the tab key")
    if seen["overflow"] > 0:
        found.append(f"{seen['overflow']} px wider than the window")
    return found
