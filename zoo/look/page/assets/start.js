// Starts the page: its parts, and what the address asks for.
function chooseTab(tab, focus) {
  for (const other of document.querySelectorAll('[role="tab"]')) {
    const chosen = other === tab;
    other.setAttribute("aria-selected", String(chosen));
    other.tabIndex = chosen ? 0 : -1;
    byId(other.getAttribute("aria-controls")).hidden = !chosen;
  }
  if (focus) tab.focus();
}

function start() {
  const tabs = [...document.querySelectorAll('[role="tab"]')];
  tabs.forEach((tab) => tab.addEventListener("click", () => chooseTab(tab)));
  byId("tabs").addEventListener("keydown", (event) => {
    const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (move) chooseTab(tabs[(tabs.indexOf(document.activeElement) + move + tabs.length) % tabs.length], true);
  });
  const asked = new URLSearchParams(location.hash.slice(1));
  drawHead();
  drawOverview();
  drawUnits();
  drawLayers();
  convolutionLesson(byId("convolution"));
  backwardLesson(byId("backward"));
  const index = Math.max(L.findIndex((layer) => layer.name === asked.get("layer")), Math.min(1, L.length - 1) * !asked.get("layer"));
  showLayer(index);
  if (asked.get("channel")) showUnit(index, Number(asked.get("channel")));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paintAgain);
}

window.look = { page: PAGE, explain, onwards, showLayer, showUnit, state, convolutionSize, backward };
start();
