(() => {
  "use strict";
  const form = document.getElementById("filter");
  const list = document.getElementById("scans");
  const nothing = document.getElementById("nothing");
  const scans = [...list.querySelectorAll(".scan")];
  const words = new Map(scans.map((scan) => [scan, scan.textContent.toLowerCase()]));
  const flags = (scan) => scan.dataset.flag.split(" ").filter(Boolean);

  const fits = (scan, want) =>
    (!want.source || scan.dataset.source === want.source) &&
    (!want.sequence || scan.dataset.sequence === want.sequence) &&
    (!want.flag ||
      (want.flag === "any" && flags(scan).length > 0) ||
      (want.flag === "none" && flags(scan).length === 0) ||
      flags(scan).includes(want.flag)) &&
    want.words.toLowerCase().split(/\s+/).every((word) => words.get(scan).includes(word));

  const number = (scan, name) => (name === "flags" ? flags(scan).length : Number(scan.dataset[name] ?? NaN));

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
    list.classList.toggle("sheet", form.elements.sheet.checked);
    document.body.classList.toggle("hide-outline", !form.elements.outline.checked);
  };
  form.addEventListener("input", update);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(update));
  for (const link of document.querySelectorAll("a[data-flag]")) {
    link.addEventListener("click", () => {
      form.elements.flag.value = link.dataset.flag;
      update();
    });
  }

  const large = document.getElementById("large");
  const stage = large.querySelector(".stage");
  let current = null;
  const show = (scan) => {
    current = scan;
    large.querySelector("h2").textContent = scan.dataset.key;
    stage.replaceChildren(scan.querySelector(".look svg").cloneNode(true));
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

  form.hidden = false;
  update();
})();
