// Images that people bring: dropped, pasted, chosen. They stay in this browser, so that a reload or
// the way back finds them; the url of a search has only their key.

const DATABASE = "clip-assets";
const IMAGES = "images";
const LARGEST = 2_000_000; // bytes; larger ones are made smaller before they are sent
const SIDE = 1024; // pixels, of the longer side of those

const files = new Map();
const previews = new Map();

/** The image of a key, if this browser has it and it has been loaded. */
export const kept = (key) => files.get(key) ?? null;

/** A url of an image for this page. */
export function preview(key) {
  if (!files.has(key)) return null;
  if (!previews.has(key)) previews.set(key, URL.createObjectURL(files.get(key)));
  return previews.get(key);
}

/** Keep an image; its key. */
export async function keep(file) {
  const image = file.size > LARGEST ? await smaller(file) : file;
  const key = await digest(image);
  files.set(key, image);
  await transaction("readwrite", (images) => images.put(image, key));
  return key;
}

/** Load the images of these keys, those that are here. */
export async function load(keys) {
  for (const key of keys.filter((wanted) => !files.has(wanted))) {
    const found = await transaction("readonly", (images) => images.get(key));
    if (found) files.set(key, found);
  }
}

async function smaller(file) {
  try {
    const bitmap = await createImageBitmap(file);
    const scale = Math.min(1, SIDE / Math.max(bitmap.width, bitmap.height));
    const canvas = document.createElement("canvas");
    canvas.width = Math.max(1, Math.round(bitmap.width * scale));
    canvas.height = Math.max(1, Math.round(bitmap.height * scale));
    canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    return await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.92));
  } catch {
    return file; // not one that a browser reads: the service says what is wrong with it
  }
}

async function digest(blob) {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  if (!crypto.subtle) return crypto.getRandomValues(new Uint32Array(2)).join("-"); // without https
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(hash.slice(0, 8), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** What a transaction on the stored images gives; null where storage is forbidden. */
function transaction(mode, act) {
  return new Promise((resolve) => {
    const opening = window.indexedDB?.open(DATABASE, 1);
    if (!opening) {
      resolve(null);
      return;
    }
    opening.onupgradeneeded = () => opening.result.createObjectStore(IMAGES);
    opening.onerror = () => resolve(null);
    opening.onsuccess = () => {
      const images = opening.result.transaction(IMAGES, mode).objectStore(IMAGES);
      const request = act(images);
      request.onsuccess = () => resolve(request.result ?? null);
      request.onerror = () => resolve(null);
    };
  });
}

const first = (list) => [...(list ?? [])].find((file) => file.type.startsWith("image/"));

/**
 * Hear of images that are dropped on the page or pasted into it, and of pairs that are dragged
 * from the grid.
 */
export function receive({ image, uid, refuse }) {
  let depth = 0;
  const over = (change) => {
    depth = change === null ? 0 : depth + change;
    document.body.classList.toggle("dropping", depth > 0);
  };
  window.addEventListener("dragenter", () => over(1));
  window.addEventListener("dragleave", () => over(-1));
  window.addEventListener("dragover", (event) => event.preventDefault());
  window.addEventListener("drop", (event) => {
    event.preventDefault();
    over(null);
    const dragged = event.dataTransfer.getData("application/x-clip-assets-uid");
    const file = first(event.dataTransfer.files);
    if (dragged) uid(dragged);
    else if (file) image(file);
    else refuse();
  });
  window.addEventListener("paste", (event) => {
    const file = first(event.clipboardData.files);
    if (!file) return; // words go where the cursor is
    event.preventDefault();
    image(file);
  });
}
