
// Pictures of a row are made when it is opened for the first time: a page of many rows stays quick.
(() => {
  const kept = document.getElementById("reference");
  const reference = kept ? JSON.parse(kept.textContent) : null;
  const digits = (value) => (value === null ? "–" : value.toPrecision(4));

  const figure = (name, text, picture) => {
    const found = document.createElement("figure");
    const image = document.createElement("img");
    image.src = `data:image/png;base64,${picture}`;
    image.alt = `${name}, ${text}`;
    const caption = document.createElement("figcaption");
    caption.textContent = text;
    found.append(image, caption);
    return found;
  };

  const draw = (place) => {
    const row = place.closest("details");
    const one = JSON.parse(row.querySelector("script.of-row").textContent);
    const texts = {
      reference: "true image",
      clean: `without an attack, error ${digits(one.clean_rmse)}`,
      attacked: `attacked (${one.attack}), error ${digits(one.rmse)}`,
      difference: "difference",
    };
    const pictures = { ...one.pictures, ...(reference ? { reference } : {}) };
    for (const [key, text] of Object.entries(texts)) if (pictures[key]) place.append(figure(one.name, text, pictures[key]));
    const note = document.createElement("p");
    note.className = "note";
    note.textContent = `${one.name}, radius ${one.radius}; white is ${digits(one.window)}${one.factor > 1 ? `; shown at 1 / ${one.factor} of its size` : ""}.`;
    place.after(note);
  };

  for (const place of document.querySelectorAll(".pictures")) {
    const row = place.closest("details");
    const once = () => {
      if (row.open && !place.childElementCount) draw(place);
    };
    row.addEventListener("toggle", once);
    once();
  }
})();
