
"use strict";

// Curves: one stop of the Tab key a diagram, arrow keys inside it; what a mark says is shown beside it.
(() => {
  const tip = document.getElementById("tip");
  if (!tip) return;

  const show = (mark) => {
    tip.textContent = mark.getAttribute("aria-label");
    tip.hidden = false;
    const place = mark.querySelector(".target").getBoundingClientRect();
    const room = document.documentElement.clientWidth - tip.offsetWidth - 8;
    tip.style.left = `${Math.max(8, Math.min(place.left + window.scrollX, room))}px`;
    const above = place.top - tip.offsetHeight - 6;
    tip.style.top = `${window.scrollY + (above > 0 ? above : place.bottom + 6)}px`;
  };
  const hide = () => { tip.hidden = true; };

  const ready = (chart) => {
    const marks = [...chart.querySelectorAll(".mark")].filter((mark) => !mark.closest(".hidden, .filtered"));
    for (const mark of chart.querySelectorAll(".mark")) mark.tabIndex = -1;
    if (marks.length) marks[0].tabIndex = 0;
  };

  for (const chart of document.querySelectorAll(".chart svg")) {
    ready(chart);
    chart.addEventListener("models", () => ready(chart));
    for (const mark of chart.querySelectorAll(".mark")) {
      mark.addEventListener("pointerenter", () => show(mark));
      mark.addEventListener("pointerleave", hide);
      mark.addEventListener("focus", () => show(mark));
      mark.addEventListener("blur", hide);
    }
    chart.addEventListener("keydown", (event) => {
      const mark = event.target.closest(".mark");
      if (event.key === "Escape") hide();
      if (!mark || !event.key.startsWith("Arrow")) return;
      event.preventDefault();
      const curves = [...chart.querySelectorAll("g[data-model]:not(.hidden):not(.filtered)")].map((curve) => [...curve.querySelectorAll(".mark")]);
      const curve = curves.findIndex((marks) => marks.includes(mark));
      const along = { ArrowLeft: -1, ArrowRight: 1 }[event.key] || 0;
      const across = { ArrowUp: -1, ArrowDown: 1 }[event.key] || 0;
      const marks = curves[(curve + across + curves.length) % curves.length];
      const place = Math.min(Math.max(curves[curve].indexOf(mark) + along, 0), marks.length - 1);
      mark.tabIndex = -1;
      marks[place].tabIndex = 0;
      marks[place].focus();
    });
  }

  for (const button of document.querySelectorAll(".legend button")) {
    button.addEventListener("click", () => {
      const shown = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", shown);
      for (const chart of document.querySelectorAll(".chart svg")) {
        for (const curve of chart.querySelectorAll(`g[data-model="${button.dataset.model}"]`)) curve.classList.toggle("hidden", !shown);
        ready(chart);
      }
    });
  }
})();
