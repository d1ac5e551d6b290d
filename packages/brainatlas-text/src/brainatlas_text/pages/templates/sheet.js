(() => {
  "use strict";
  const form = document.getElementById("filter");
  const list = document.getElementById("scans");
  const nothing = document.getElementById("nothing");
  const chip = document.getElementById("only");
  const scans = [...list.querySelectorAll(".scan")];
  const words = new Map(scans.map((scan) => [scan, scan.textContent.toLowerCase()]));
  const flags = (scan) => scan.dataset.flag.split(" ").filter(Boolean);
  let only = null; // keys of a histogram's bar

  const fits = (scan, want) =>
    (!only || only.has(scan.dataset.key)) &&
    (!want.source || scan.dataset.source === want.source) &&
    (!want.sequence || scan.dataset.sequence === want.sequence) &&
    (!want.flag ||
      (want.flag === "any" && flags(scan).length > 0) ||
      (want.flag === "none" && flags(scan).length === 0) ||
      flags(scan).includes(want.flag)) &&
    want.words.toLowerCase().split(/\s+/).every((word) => words.get(scan).includes(word));

  const number = (scan, name) => (name === "flags" ? flags(scan).length : Number(scan.getAttribute(`data-${name}`) ?? NaN));

  const sorted = (sort) => {
    if (!sort) return scans;
    if (sort === "key") return [...scans].sort((a, b) => a.dataset.key.localeCompare(b.dataset.key));
    const [sign, name] = sort.startsWith("-") ? [-1, sort.slice(1)] : [1, sort];
    return [...scans].sort((a, b) => {
      const [one, other] = [number(a, name), number(b, name)];
      if (Number.isNaN(one) || Number.isNaN(other)) return Number.isNaN(one) - Number.isNaN(other);
      return sign * (one - other);
    });
  };

  let order = "";
  const update = () => {
    const want = Object.fromEntries(new FormData(form));
    let shown = 0;
    for (const scan of scans) {
      scan.hidden = !fits(scan, want);
      shown += !scan.hidden;
    }
    if (want.sort !== order) {
      list.append(...sorted(want.sort));
      order = want.sort;
    }
    form.elements.shown.value = `${shown} of ${scans.length}`;
    nothing.hidden = shown > 0;
    chip.hidden = !only;
    for (const tick of form.querySelectorAll("input[type=checkbox]")) {
      document.body.classList.toggle(`show-${tick.name}`, tick.checked);
      document.body.classList.toggle(`hide-${tick.name}`, !tick.checked);
    }
    list.classList.toggle("sheet", form.elements.sheet.checked);
    document.body.dataset.view = want.view ?? "";
  };
  form.addEventListener("input", update);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => {
    only = null;
    setTimeout(update);
  });
  for (const link of document.querySelectorAll("a[data-flag]")) {
    link.addEventListener("click", () => {
      form.elements.flag.value = link.dataset.flag;
      update();
    });
  }
  for (const link of document.querySelectorAll("a[data-scan]")) {
    link.addEventListener("click", () => {
      form.reset();
      only = null;
      update();
    });
  }
  chip.addEventListener("click", () => {
    only = null;
    update();
    form.elements.words.focus();
  });

  // Histograms: one stop of the Tab key a row, arrows from bar to bar, names below.
  const bars = (row) => [...row.querySelectorAll("button")];
  const tell = (event) => {
    const bar = event.target.closest(".bars button");
    if (bar) bar.closest(".histogram").querySelector("output").value = bar.getAttribute("aria-label");
  };
  for (const row of document.querySelectorAll(".bars")) {
    bars(row).forEach((bar, place) => (bar.tabIndex = place ? -1 : 0));
    row.addEventListener("pointerover", tell);
    row.addEventListener("focusin", tell);
    row.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      const next = step && bars(row)[bars(row).indexOf(event.target) + step];
      if (!next) return;
      for (const bar of bars(row)) bar.tabIndex = -1;
      next.tabIndex = 0;
      next.focus();
      event.preventDefault();
    });
    row.addEventListener("click", (event) => {
      const bar = event.target.closest("button[data-keys]");
      if (!bar) return;
      only = new Set(bar.dataset.keys.split(" "));
      chip.textContent = `${bar.closest(".histogram").dataset.title} ${bar.getAttribute("aria-label").split(":")[0]} ✕`;
      chip.setAttribute("aria-label", `Only ${chip.textContent.slice(0, -2)}; press to show all`);
      update();
      list.scrollIntoView();
    });
  }

  // A table is sorted by the button in a column's head.
  for (const head of document.querySelectorAll("th > button")) {
    head.addEventListener("click", () => {
      const [cell, body] = [head.parentElement, head.closest("table").tBodies[0]];
      const column = cell.cellIndex;
      const sign = cell.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      for (const other of cell.parentElement.cells) other.removeAttribute("aria-sort");
      cell.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
      const text = (row) => row.cells[column].textContent;
      const rows = [...body.rows].sort((a, b) => {
        const [one, other] = [parseFloat(text(a)), parseFloat(text(b))];
        if (column === 0) return sign * text(a).localeCompare(text(b));
        if (Number.isNaN(one) || Number.isNaN(other)) return Number.isNaN(one) - Number.isNaN(other);
        return sign * (one - other);
      });
      body.append(...rows);
    });
  }

  const large = document.getElementById("large");
  const stage = large.querySelector(".stage");
  let current = null;
  const show = (scan) => {
    current = scan;
    large.querySelector("h2").textContent = scan.dataset.key;
    const looks = [...scan.querySelectorAll(".look")].map((look) => look.cloneNode(true));
    stage.replaceChildren(...looks);
    stage.classList.toggle("both", looks.length > 1);
    stage.setAttribute("aria-label", `Three planes of ${scan.dataset.key}`);
    if (!large.open) large.showModal();
  };
  list.addEventListener("click", (event) => {
    const button = event.target.closest(".enlarge");
    if (button) show(button.closest(".scan"));
  });
  const move = (step) => {
    const seen = [...list.querySelectorAll(".scan:not([hidden])")].filter((scan) => scan.querySelector(".look svg"));
    const next = seen[seen.indexOf(current) + step];
    if (next) show(next);
  };
  large.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    move(step);
    event.preventDefault();
  });
  for (const button of large.querySelectorAll("[data-step]")) {
    button.addEventListener("click", () => move(Number(button.dataset.step)));
  }
  large.addEventListener("close", () => current?.querySelector(".enlarge").focus());

  // One letter changes what pictures show, wherever no text is typed.
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input[type=search], select")) return;
    const field = form.querySelector(`[data-key="${CSS.escape(event.key.toLowerCase())}"]`);
    if (!field) return;
    if (field.type === "checkbox") field.checked = !field.checked;
    else field.selectedIndex = (field.selectedIndex + 1) % field.options.length;
    update();
  });

  form.hidden = false;
  update();
})();
