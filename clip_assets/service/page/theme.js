// The chosen theme, before the first paint: a module would come after it.
(() => {
  try {
    const theme = localStorage.getItem("clip-assets-theme");
    if (theme) document.documentElement.dataset.theme = theme;
  } catch {
    // Storage is forbidden here: the system's theme it is.
  }
})();
