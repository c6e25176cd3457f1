// Models that are shown, in tables, curves, lists of images and settings alike.
(() => {
  const form = document.getElementById("filter");
  if (!form) return;
  form.hidden = false;
  const boxes = [...form.querySelectorAll("input[type=checkbox]")];
  const wanted = form.querySelector("#wanted");

  const matches = (box) => box.parentElement.textContent.toLowerCase().includes(wanted.value.trim().toLowerCase());
  const update = () => {
    const left = new Set(boxes.filter((box) => !box.checked || !matches(box)).map((box) => box.value));
    for (const part of document.querySelectorAll("main [data-model]")) {
      const box = part.parentElement.closest("#filter") && part.querySelector("input");
      part.classList.toggle("filtered", box ? !matches(box) : left.has(part.dataset.model));
    }
    for (const option of document.querySelectorAll(".source option")) {
      option.hidden = left.has(option.value);
      option.disabled = option.hidden;
    }
    for (const list of document.querySelectorAll(".source")) {
      const chosen = list.selectedOptions[0];
      const other = [...list.options].find((option) => !option.disabled);
      if (chosen && chosen.disabled && other) {
        list.value = other.value;
        list.dispatchEvent(new Event("change"));
      }
    }
    for (const chart of document.querySelectorAll(".chart svg")) chart.dispatchEvent(new Event("models"));
    form.querySelector("#how-many").textContent = `${boxes.length - left.size} of ${boxes.length} shown`;
  };
  const check = (value) => () => {
    for (const box of boxes) if (matches(box)) box.checked = value;
    update();
  };

  wanted.addEventListener("input", update);
  for (const box of boxes) box.addEventListener("change", update);
  form.querySelector("#all").addEventListener("click", check(true));
  form.querySelector("#none").addEventListener("click", check(false));
  form.addEventListener("submit", (event) => event.preventDefault());
  update();
})();

// Images.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const element = (id) => document.getElementById(id);
  const viewer = element("viewer");
  viewer.hidden = false;
  if (typeof DecompressionStream === "undefined") {
    viewer.textContent = "This viewer needs a browser of 2023 or later (Chrome 80, Firefox 113, Safari 16.4).";
    return;
  }
  const controls = Object.fromEntries(["slice", "view", "zoom", "window", "gain", "rate"].map((id) => [id, element(id)]));
  const choosers = viewer.querySelectorAll(".chooser");
  const panels = [...viewer.querySelectorAll(".panel")].map((figure, side) => ({
    source: choosers[side].querySelector(".source"),
    condition: choosers[side].querySelector(".condition"),
    badge: figure.querySelector(".shown"),
    viewport: figure.querySelector(".viewport"),
    sheet: figure.querySelector(".sheet"),
    canvas: figure.querySelector("canvas"),
    cursor: figure.querySelector(".cursor"),
    message: figure.querySelector(".message"),
    caption: figure.querySelector("figcaption"),
  }));
  const views = {
    image: "image",
    error: "error (signed): image − truth",
    absolute: "error (absolute): |image − truth|",
    change: "change by the attack: attacked − clean",
    difference: "B − A, in place of B",
  };
  const shared = { reference: "ground truth", zero_filled: "zero-filled" };
  const digits = (value) => (value === null ? "–" : value.toPrecision(3));

  const fill = (select, entries) => {
    select.replaceChildren(...entries.map(([value, text]) => new Option(text, value)));
  };
  const step = (select, by = 1) => {
    const options = [...select.options].filter((option) => !option.disabled);
    const place = options.findIndex((option) => option.value === select.value);
    select.value = options[(place + by + options.length) % options.length].value;
  };

  // Packed as in report.py: base64, zlib, low bytes before high ones, signs folded, differences along each row.
  const unpack = async (text, height, width) => {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    const planes = new Uint8Array(await new Response(stream).arrayBuffer());
    const count = height * width;
    const values = new Uint16Array(count);
    let last = 0;
    for (let index = 0; index < count; index += 1) {
      if (index % width === 0) last = 0;
      const folded = planes[index] | (planes[count + index] << 8);
      last = (last + ((folded >>> 1) ^ -(folded & 1))) & 0xffff;
      values[index] = last;
    }
    return values;
  };
  let unpacked = new Map();
  const pixels = (slice, text) => {
    if (!text) return null;
    if (!unpacked.has(text)) unpacked.set(text, unpack(text, slice.height, slice.width));
    return unpacked.get(text);
  };

  const chosen = (panel) => ({ source: panel.source.value, condition: Number(panel.condition.value) });
  const named = ({ source, condition }) => (source in shared ? shared[source] : `${data.models[source]}, ${data.conditions[condition]}`);
  const load = (slice, { source, condition }) =>
    pixels(slice, source in shared ? slice.shared[source] : slice.images[source][condition]);

  // What is to be seen of a choice: values in steps of the window / levels, whether they have signs, or why there is nothing.
  const see = async (slice, view, choice, other) => {
    const own = await load(slice, choice);
    if (!own) return { message: choice.source in shared ? "This slice has no ground truth." : "This model has no such attack." };
    if (view === "image") return { values: own, signed: false };
    let against;
    if (view === "difference") {
      against = await load(slice, other);
      if (!against) return { message: "There is no image A to compare with." };
    } else if (view === "change") {
      if (choice.source in shared || choice.condition === 0) return { message: "Not attacked: there is no change." };
      against = await load(slice, { ...choice, condition: 0 });
    } else {
      if (choice.source === "reference") return { message: "The ground truth itself has no error." };
      against = await load(slice, { source: "reference" });
      if (!against) return { message: "This slice has no ground truth." };
    }
    const values = new Float32Array(own.length);
    for (let index = 0; index < own.length; index += 1) values[index] = own[index] - against[index];
    if (view === "absolute") return { values: values.map(Math.abs), signed: false, error: true };
    return { values, signed: true, error: true };
  };

  const scale = (signed) => {
    const strip = new ImageData(256, 1);
    for (let place = 0; place < 256; place += 1) strip.data.set([...(signed ? data.map[place] : Array(3).fill(place)), 255], 4 * place);
    return strip;
  };
  const limit = (seen) => (seen.error ? data.levels / Number(controls.gain.value) : (data.levels * Number(controls.window.value)) / 100);

  const draw = (panel, slice, seen) => {
    const { canvas } = panel;
    if (canvas.width !== slice.width || canvas.height !== slice.height) Object.assign(canvas, { width: slice.width, height: slice.height });
    panel.message.hidden = !seen.message;
    panel.message.textContent = seen.message || "";
    const picture = new ImageData(slice.width, slice.height);
    if (seen.values) {
      const highest = limit(seen);
      // All four bytes of a pixel at once: a flicker must not wait for its images.
      const table = new Uint32Array(scale(seen.signed).data.buffer);
      const all = new Uint32Array(picture.data.buffer);
      const [middle, half] = seen.signed ? [127.5, 127.5] : [0, 255];
      for (let index = 0; index < all.length; index += 1) {
        all[index] = table[Math.min(Math.max(Math.round(middle + (half * seen.values[index]) / highest), 0), 255)];
      }
    }
    canvas.getContext("2d").putImageData(picture, 0, 0);
  };

  const caption = (slice, choice, side, difference) => {
    const text = difference ? `B − A: ${named(chosen(panels[1]))} − ${named(chosen(panels[0]))}` : `${side}: ${named(choice)}`;
    const row = choice.source in shared || difference ? null : slice.scores[choice.source][choice.condition];
    if (!row) return text;
    const names = { rmse: "RMSE", ssim: "SSIM", nrmse: "NRMSE", psnr: "PSNR", effect: "effect", norm: "||r||₂" };
    const scores = Object.entries(names).filter(([key]) => row[key] !== null && (choice.condition > 0 || !["effect", "norm"].includes(key)));
    return `${text}. ${scores.map(([key, name]) => `${name} ${digits(row[key])}`).join(", ")}`;
  };

  // The state of what is drawn: of A and B, and which of them the first panel shows.
  let drawn = [];
  let slice = data.slices[0];
  let turn = 0;
  let timer = null;
  let point = null;
  let request = 0;

  const size = () => {
    const zoom = Number(controls.zoom.value);
    for (const { sheet, canvas, viewport } of panels) {
      const room = viewport.clientWidth;
      if (!room) continue;
      // Fitted, the whole image is seen at once.
      const fitted = Math.min(room / slice.width, (0.75 * window.innerHeight) / slice.height);
      const times = zoom || fitted;
      sheet.style.width = `${Math.floor(times * slice.width)}px`;
      sheet.style.height = `${Math.floor(times * slice.height)}px`;
      canvas.classList.toggle("pixels", times * window.devicePixelRatio >= 1);
    }
  };

  const paint = () => {
    if (!drawn.length) return;
    panels.forEach((panel, side) => {
      const shown = side === 0 ? turn : 1;
      const { choice, seen } = drawn[shown];
      draw(panel, slice, seen);
      const text = caption(slice, choice, "AB"[shown], shown === 1 && controls.view.value === "difference");
      panel.caption.textContent = text;
      panel.canvas.setAttribute("aria-label", `${text}. Slice ${slice.name}, ${views[controls.view.value]}. ${seen.message || ""}`);
      panel.badge.textContent = "AB"[shown];
    });
    // Of the difference, where there is one.
    const kind = (drawn.find((one) => one.seen.error) || drawn.find((one) => one.seen.values) || drawn[0]).seen;
    const units = slice.window / data.levels;
    const highest = (kind.values ? limit(kind) : data.levels) * units;
    const bar = element("bar");
    bar.getContext("2d").putImageData(scale(kind.signed), 0, 0);
    element("low").textContent = kind.signed ? `−${digits(highest)}` : "0";
    element("high").textContent = `${digits(highest)} ${kind.error ? `(window / ${controls.gain.value})` : "(white)"}`;
    bar.setAttribute("aria-label", `scale from ${element("low").textContent} to ${element("high").textContent}`);
    element("window-text").textContent = `${digits((slice.window * Number(controls.window.value)) / 100)} (${controls.window.value} %)`;
    element("rate-text").textContent = `${Number(controls.rate.value)} / s`;
    size();
    read();
  };

  const update = async () => {
    const own = ++request;
    const next = data.slices[Number(controls.slice.value)];
    if (next !== slice) {
      unpacked = new Map();
      slice = next;
      point = null;
    }
    for (const panel of panels) panel.condition.disabled = panel.source.value in shared;
    const view = controls.view.value;
    const choices = panels.map(chosen);
    const seen = [await see(slice, view === "difference" ? "image" : view, choices[0]), await see(slice, view, choices[1], choices[0])];
    // A later choice has been made meanwhile.
    if (own !== request) return;
    drawn = choices.map((choice, side) => ({ choice, seen: seen[side] }));
    paint();
    viewer.dataset.ready = own;
  };

  const read = () => {
    for (const panel of panels) panel.cursor.hidden = !point;
    if (!point) {
      element("readout").textContent = "Point at an image to read its values.";
      return;
    }
    for (const { cursor } of panels) {
      cursor.style.left = `${(100 * point.column) / slice.width}%`;
      cursor.style.top = `${(100 * point.row) / slice.height}%`;
      cursor.style.width = `${100 / slice.width}%`;
      cursor.style.height = `${100 / slice.height}%`;
    }
    const texts = drawn.map(({ seen }, side) => {
      const name = side === 1 && controls.view.value === "difference" ? "B − A" : "AB"[side];
      return `${name} ${seen.values ? digits((seen.values[point.row * slice.width + point.column] * slice.window) / data.levels) : "–"}`;
    });
    element("readout").textContent = `row ${point.row}, column ${point.column}: ${texts.join(", ")}`;
  };

  const stop = () => {
    clearInterval(timer);
    timer = null;
    turn = 0;
  };
  const swap = () => {
    turn = 1 - turn;
    paint();
  };
  // Only ever begun by the user, and at most three changes a second, which nobody's eyes take for flashes.
  const flicker = () => {
    const running = timer !== null;
    stop();
    if (!running) timer = setInterval(swap, 1000 / Number(controls.rate.value));
    element("flicker").setAttribute("aria-pressed", !running);
    element("flicker").textContent = running ? "Flicker A / B" : "Stop the flicker";
    element("panels").classList.toggle("flickering", !running);
    paint();
  };
  const exchange = () => {
    const [a, b] = panels.map(chosen);
    [[panels[0], b], [panels[1], a]].forEach(([panel, choice]) => {
      panel.source.value = choice.source;
      panel.condition.value = choice.condition;
    });
    update();
  };

  // Controls.
  const truth = data.slices.some((one) => one.shared.reference);
  const attacked = data.conditions.length > 1;
  fill(controls.slice, data.slices.map((one, index) => [index, one.name]));
  fill(controls.view, Object.entries(views));
  for (const option of controls.view.options) {
    option.disabled = (!truth && ["error", "absolute"].includes(option.value)) || (!attacked && option.value === "change");
  }
  const first = data.slices[0];
  const sources = [...data.models.map((name, index) => [index, name]), ...Object.entries(shared).filter(([key]) => key in first.shared || truth)];
  const strongest = (model) => {
    const there = data.conditions.map((_, index) => index).filter((index) => first.images[model][index]);
    const balls = there.filter((index) => data.conditions[index].startsWith("radius"));
    return balls.length ? balls[balls.length - 1] : there[there.length - 1];
  };
  const last = data.models.length - 1;
  // Two models under attack; one model clean and attacked; or, not attacked, beside the truth.
  const begin = last ? [[0, strongest(0)], [last, strongest(last)]] : [[attacked ? 0 : truth ? "reference" : "zero_filled", 0], [0, strongest(0)]];
  panels.forEach((panel, side) => {
    fill(panel.source, sources);
    fill(panel.condition, data.conditions.map((text, index) => [index, text]));
    [panel.source.value, panel.condition.value] = begin[side];
    panel.source.addEventListener("change", update);
    panel.condition.addEventListener("change", update);
    panel.viewport.addEventListener("scroll", () => {
      const other = panels[1 - side].viewport;
      if (other.scrollLeft !== panel.viewport.scrollLeft) other.scrollLeft = panel.viewport.scrollLeft;
      if (other.scrollTop !== panel.viewport.scrollTop) other.scrollTop = panel.viewport.scrollTop;
    });
    panel.canvas.addEventListener("pointermove", (event) => {
      const box = panel.canvas.getBoundingClientRect();
      point = {
        row: Math.min(slice.height - 1, Math.max(0, Math.floor(((event.clientY - box.top) / box.height) * slice.height))),
        column: Math.min(slice.width - 1, Math.max(0, Math.floor(((event.clientX - box.left) / box.width) * slice.width))),
      };
      read();
    });
    panel.viewport.addEventListener("keydown", (event) => {
      const [down, right] = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key] || [0, 0];
      if ((!down && !right) || event.ctrlKey || event.altKey || event.metaKey) return;
      event.preventDefault();
      const by = event.shiftKey ? 10 : 1;
      point = point || { row: Math.floor(slice.height / 2), column: Math.floor(slice.width / 2) };
      point.row = Math.min(slice.height - 1, Math.max(0, point.row + by * down));
      point.column = Math.min(slice.width - 1, Math.max(0, point.column + by * right));
      read();
      const { viewport, sheet } = panel;
      const times = sheet.clientWidth / slice.width;
      const follow = (at, from, room) => (at < from + 20 ? at - 20 : at > from + room - 20 ? at - room + 20 : from);
      viewport.scrollLeft = follow(point.column * times, viewport.scrollLeft, viewport.clientWidth);
      viewport.scrollTop = follow(point.row * times, viewport.scrollTop, viewport.clientHeight);
    });
  });
  controls.slice.addEventListener("change", update);
  controls.view.addEventListener("change", update);
  for (const name of ["zoom", "window", "gain"]) controls[name].addEventListener("input", paint);
  controls.rate.addEventListener("input", () => {
    if (timer !== null) {
      clearInterval(timer);
      timer = setInterval(swap, 1000 / Number(controls.rate.value));
    }
    paint();
  });
  if (window.matchMedia("(prefers-reduced-motion: reduce)").matches) controls.rate.value = controls.rate.min;
  element("flicker").addEventListener("click", flicker);
  element("exchange").addEventListener("click", exchange);
  window.addEventListener("resize", size);

  const moved = (select, by) => () => {
    step(select, by);
    select.dispatchEvent(new Event(select === controls.zoom ? "input" : "change"));
  };
  const zoomed = (by) => () => {
    const place = controls.zoom.selectedIndex + by;
    if (place < 0 || place >= controls.zoom.options.length) return;
    controls.zoom.selectedIndex = place;
    paint();
  };
  const keys = {
    f: flicker, x: exchange, n: moved(controls.slice, 1), p: moved(controls.slice, -1), v: moved(controls.view, 1),
    m: moved(panels[0].source, 1), c: moved(panels[0].condition, 1), M: moved(panels[1].source, 1), C: moved(panels[1].condition, 1),
    "+": zoomed(1), "-": zoomed(-1),
  };
  viewer.addEventListener("keydown", (event) => {
    // Letters choose entries of a list, and arrows move a slider.
    if (event.ctrlKey || event.altKey || event.metaKey || event.target.matches("select, input")) return;
    const act = keys[event.key] || keys[event.key.toLowerCase()];
    if (!act) return;
    event.preventDefault();
    act();
  });
  viewer.addEventListener("submit", (event) => event.preventDefault());
  update();
})();
