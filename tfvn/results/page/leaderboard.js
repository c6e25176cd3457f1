
// The table: a press on a head sorts by its column, a second one the other way.
(() => {
  const table = document.getElementById("ranks");
  const heads = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];

  const value = (line, column, kind) => {
    const text = line.cells[column].dataset.value;
    if (text === undefined) return null;
    return kind === "number" ? Number(text) : text;
  };
  const compare = (one, other, kind) => (kind === "number" ? one - other : one.localeCompare(other));

  const sort = (column, falling) => {
    const kind = heads[column].dataset.kind;
    const lines = [...body.rows].map((line, place) => ({ line, place, value: value(line, column, kind) }));
    lines.sort((one, other) => {
      // What has no value is the last either way.
      if (one.value === null || other.value === null) return (one.value === null) - (other.value === null) || one.place - other.place;
      return (falling ? -1 : 1) * compare(one.value, other.value, kind) || one.place - other.place;
    });
    for (const { line } of lines) body.append(line);
    for (const [place, head] of heads.entries()) head.setAttribute("aria-sort", place !== column ? "none" : falling ? "descending" : "ascending");
  };

  for (const [column, head] of heads.entries()) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => sort(column, head.getAttribute("aria-sort") === "ascending"));
  }
})();

// Rows that are shown, in the table, the diagrams and the lists alike.
(() => {
  const form = document.getElementById("filter");
  const wanted = form.querySelector("#wanted");
  const reliable = form.querySelector("#reliable");
  const lines = [...document.querySelectorAll("#ranks tbody tr")];
  form.hidden = false;

  const update = () => {
    const text = wanted.value.trim().toLowerCase();
    const fits = (line) => line.textContent.toLowerCase().includes(text) && !(reliable.checked && line.classList.contains("apart"));
    const left = new Set(lines.filter((line) => !fits(line)).map((line) => line.dataset.model));
    for (const part of document.querySelectorAll("main [data-model]")) part.classList.toggle("filtered", left.has(part.dataset.model));
    for (const chart of document.querySelectorAll(".chart svg")) chart.dispatchEvent(new Event("models"));
    form.querySelector("#how-many").textContent = `${lines.length - left.size} of ${lines.length} shown`;
  };
  wanted.addEventListener("input", update);
  reliable.addEventListener("change", update);
  form.addEventListener("submit", (event) => event.preventDefault());
  update();
})();

// A link to a row opens it, and a button saves it as a file.
(() => {
  const open = () => {
    const row = document.getElementById(location.hash.slice(1));
    if (row && row.tagName === "DETAILS") row.open = true;
  };
  window.addEventListener("hashchange", open);
  open();
  for (const button of document.querySelectorAll(".save")) {
    button.hidden = false;
    button.addEventListener("click", () => {
      const text = button.parentElement.querySelector("pre").textContent;
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
      link.download = button.dataset.file;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    });
  }
})();
