// Filters the frames of the gallery, and shows one of them large, its pictures in the same place one after the other.
(() => {
  "use strict";
  const byId = (id) => document.getElementById(id);
  const frames = [...document.querySelectorAll(".frame")];
  for (const part of document.querySelectorAll(".needs-script, .closer")) part.hidden = false;

  const filters = byId("filters");
  const number = (id, otherwise) => {
    const value = byId(id).valueAsNumber;
    return Number.isNaN(value) ? otherwise : value;
  };

  const PAGE = 6;
  let most = PAGE;

  function filter() {
    const split = byId("filter-split").value;
    const scene = byId("filter-scene").value;
    const words = byId("filter-text").value.toLowerCase().split(/\s+/);
    const from = number("filter-least", 0);
    const to = number("filter-most", 100);
    let fitting = 0;
    for (const frame of frames) {
      const { split: ofSplit, scene: ofScene, key, holes } = frame.dataset;
      const fits = (!split || split === ofSplit) && (!scene || scene === ofScene) && holes >= from && holes <= to
        && words.every((word) => key.toLowerCase().includes(word));
      frame.toggleAttribute("data-fits", fits);
      fitting += fits;
      frame.hidden = !fits || fitting > most;
    }
    const shown = Math.min(fitting, most);
    const narrowed = fitting < frames.length ? `, of ${frames.length} on this page` : "";
    byId("shown").textContent = `${shown} of ${fitting} frames shown${narrowed}`;
    byId("more").hidden = fitting <= most;
    byId("more").textContent = `Show ${Math.min(PAGE, fitting - most)} more frames`;
    for (const box of filters.querySelectorAll('input[name="picture"]')) {
      for (const figure of document.querySelectorAll(".pictures figure")) {
        if (figure.dataset.picture === box.value) figure.hidden = !box.checked;
      }
    }
  }

  filters.addEventListener("input", () => {
    most = PAGE;
    filter();
  });
  byId("more").addEventListener("click", () => {
    const first = frames.filter((frame) => !frame.hidden).length;
    most += PAGE;
    filter();
    frames.filter((frame) => !frame.hidden)[first]?.querySelector(".closer").focus();
  });
  filters.addEventListener("submit", (event) => event.preventDefault());
  filter();

  const viewer = byId("viewer");
  let frame = frames[0];
  let picture = "noisy";

  function show() {
    const figures = [...frame.querySelectorAll("figure")];
    const shown = figures.find((figure) => figure.dataset.picture === picture) ?? figures[0];
    const image = shown.querySelector("img");
    byId("viewer-title").textContent = frame.dataset.key;
    byId("viewer-facts").textContent = frame.dataset.facts;
    byId("viewer-picture").src = image.src;
    byId("viewer-picture").alt = image.alt;
    byId("viewer-picture").width = image.width;
    return { figures, shown };
  }

  function offer({ figures, shown }) {
    byId("viewer-choices").replaceChildren(...figures.map((figure) => {
      const choice = document.createElement("input");
      choice.type = "radio";
      choice.name = "viewer-picture";
      choice.value = figure.dataset.picture;
      choice.checked = figure === shown;
      const label = document.createElement("label");
      label.append(choice, figure.dataset.picture);
      return label;
    }));
  }

  function open(chosen, name) {
    frame = chosen;
    picture = name ?? picture;
    offer(show());
    if (!viewer.open) viewer.showModal();
    viewer.querySelector("input:checked").focus();
  }

  function step(by) {
    const fitting = frames.filter((each) => each.hasAttribute("data-fits"));
    frame = fitting[(fitting.indexOf(frame) + by + fitting.length) % fitting.length];
    offer(show());
  }

  for (const each of frames) {
    each.querySelector(".closer").addEventListener("click", () => open(each));
    for (const figure of each.querySelectorAll("figure")) {
      figure.querySelector("img").addEventListener("click", () => open(each, figure.dataset.picture));
    }
  }
  byId("viewer-choices").addEventListener("change", (event) => {
    picture = event.target.value;
    show();
  });
  byId("viewer-previous").addEventListener("click", () => step(-1));
  byId("viewer-next").addEventListener("click", () => step(1));
  byId("viewer-close").addEventListener("click", () => viewer.close());
  viewer.addEventListener("click", (event) => {
    if (event.target === viewer) viewer.close();
  });
})();
