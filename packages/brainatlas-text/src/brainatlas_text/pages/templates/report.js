(() => {
  "use strict";
  const ticks = document.getElementById("sheet-labels");
  const sheets = document.getElementById("people");
  ticks?.addEventListener("input", () => sheets.classList.toggle("with-labels", ticks.checked));

  const form = document.getElementById("choose");
  const slides = [...document.querySelectorAll(".slide")];
  if (!form) return;

  const labelsOf = (element) => element.dataset.labels.split(" ").map(Number);

  /** One sample: what is pointed at (`seen`) or kept (`kept`) is lit in picture, captions and list. */
  const prepare = (slide) => {
    const picture = slide.querySelector("img.labels");
    const stage = slide.querySelector(".stage");
    const canvas = slide.querySelector("canvas");
    const told = slide.querySelector(".told");
    const named = [...slide.querySelectorAll("[data-labels]")];
    const rows = new Map([...slide.querySelectorAll("[data-color]")].map((row) => [labelsOf(row)[0], row]));
    const ink = canvas.getContext("2d", { willReadFrequently: true });
    const [width, height] = [picture.naturalWidth, picture.naturalHeight];
    Object.assign(canvas, { width, height });
    ink.drawImage(picture, 0, 0);
    const colors = ink.getImageData(0, 0, width, height).data;
    ink.clearRect(0, 0, width, height);
    const labelOf = new Map([...rows].map(([label, row]) => [row.dataset.color, label]));
    const map = new Uint8Array(width * height); // label of each pixel, 0 for none that has a name
    for (let at = 0; at < map.length; at++) {
      const [red, green, blue, opacity] = colors.subarray(4 * at, 4 * at + 4);
      if (opacity) map[at] = labelOf.get(`${red} ${green} ${blue}`) ?? 0;
    }

    let seen = null;
    let kept = null;
    const paint = (lit) => {
      const pixels = ink.createImageData(width, height);
      const inside = (x, y) => x >= 0 && y >= 0 && x < width && y < height && lit.has(map[y * width + x]);
      for (let y = 0; y < height; y++) {
        for (let x = 0; x < width; x++) {
          if (!inside(x, y)) continue;
          const at = 4 * (y * width + x);
          const edge = !inside(x - 1, y) || !inside(x + 1, y) || !inside(x, y - 1) || !inside(x, y + 1);
          pixels.data.set(edge ? [255, 255, 255, 255] : colors.subarray(at, at + 3), at);
          pixels.data[at + 3] = edge ? 255 : 150;
        }
      }
      ink.putImageData(pixels, 0, 0);
    };
    const show = () => {
      const lit = new Set(seen ?? kept ?? []);
      slide.dataset.lit = [...lit].join(" ");
      stage.classList.toggle("lit", lit.size > 0);
      for (const element of named) {
        element.classList.toggle("lit", labelsOf(element).some((label) => lit.has(label)));
        element.setAttribute("aria-pressed", String(kept !== null && labelsOf(element).every((label) => kept.includes(label))));
      }
      const words = (label) => [...rows.get(label).querySelectorAll(".name, .number:not(.soft)")].map((cell) => cell.textContent);
      told.value = [...lit].filter((label) => rows.has(label)).map((label) => `${words(label).join(", ")} mm²`).join("; ");
      paint(lit);
    };
    const see = (labels) => {
      if (String(labels) === String(seen)) return;
      seen = labels;
      show();
    };
    const keep = (labels) => {
      kept = String(labels) === String(kept) ? null : labels;
      seen = kept;
      show();
    };
    const below = (event) => {
      const box = canvas.getBoundingClientRect();
      const x = Math.floor(((event.clientX - box.left) / box.width) * width);
      const y = Math.floor(((event.clientY - box.top) / box.height) * height);
      const label = map[y * width + x];
      return label ? [label] : null;
    };
    for (const element of named) {
      element.addEventListener("pointerenter", () => see(labelsOf(element)));
      element.addEventListener("pointerleave", () => see(null));
      element.addEventListener("focus", () => see(labelsOf(element)));
      element.addEventListener("blur", () => see(null));
      element.addEventListener("click", () => keep(labelsOf(element)));
      element.addEventListener("keydown", (event) => {
        if (element.tagName === "BUTTON" || !["Enter", " "].includes(event.key)) return;
        event.preventDefault();
        keep(labelsOf(element));
      });
    }
    stage.addEventListener("pointermove", (event) => see(below(event)));
    stage.addEventListener("pointerleave", () => see(null));
    stage.addEventListener("click", (event) => keep(below(event)));
    slide.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      kept = seen = null;
      show();
    });
  };

  const ready = new Set();
  let place = 0;
  const fitting = () =>
    slides.filter((slide) => slide.dataset.scans === form.elements.scans.value && slide.dataset.plane === form.elements.plane.value);
  const update = async () => {
    const fit = fitting();
    place = Math.min(Math.max(place, 0), Math.max(fit.length - 1, 0));
    const current = fit[place];
    for (const slide of slides) slide.hidden = slide !== current;
    form.elements.place.value = fit.length ? `${place + 1} of ${fit.length}` : "none in this plane";
    for (const button of form.querySelectorAll("[data-step]")) {
      button.disabled = !fit[place + Number(button.dataset.step)];
    }
    if (!current || ready.has(current)) return;
    ready.add(current);
    await current.querySelector("img.labels").decode();
    prepare(current);
    current.dataset.ready = "";
  };
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", () => {
    document.body.classList.toggle("no-colors", !form.elements.colors.checked);
    place = 0;
    update();
  });
  for (const button of form.querySelectorAll("[data-step]")) {
    button.addEventListener("click", () => {
      place += Number(button.dataset.step);
      update();
    });
  }
  form.hidden = false;
  update();
})();
