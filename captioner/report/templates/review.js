(() => {
  const section = document.getElementById("review");
  if (!section) return;
  const find = (selector) => section.querySelector(selector);
  const cases = [...section.querySelectorAll(".case")];
  const [reviewer, reveal, comment] = ["reviewer", "reveal", "comment"].map((name) => find(`[name=${name}]`));
  const [told, output, bar] = [find(".told"), find("output"), find("progress")];
  const place = (name) => `captioner review ${section.dataset.sample} ${name}`;
  const last = place("last reviewer").replace(section.dataset.sample, "of");
  let kept = true;  // some browsers keep nothing for files
  let name = "", here = 0, said = {};

  function recall(key) {
    try { return localStorage.getItem(key); } catch { kept = false; return null; }
  }
  function remember(key, value) {
    try { localStorage.setItem(key, value); } catch { kept = false; }
  }
  function load(key) {
    try {
      const found = JSON.parse(recall(key)) || {};
      return Object.fromEntries(Object.entries(found).filter(([, v]) => v && typeof v === "object"));
    } catch { return {}; }
  }
  const entry = (item) => said[item.dataset.id] || {};
  const judged = () => cases.filter((item) => entry(item).verdict).length;
  function keep(item, change) {
    said[item.dataset.id] = { ...entry(item), ...change };
    remember(place(name), JSON.stringify(said));
    show();
  }

  function show() {
    const item = cases[here], mine = entry(item).verdict, number = judged();
    for (const other of cases) other.hidden = other !== item;
    for (const button of section.querySelectorAll("[data-verdict]")) {
      button.setAttribute("aria-pressed", String(button.dataset.verdict === mine));
    }
    bar.value = number;
    output.textContent = `${number} of ${cases.length} judged${kept ? "" : "; this browser keeps nothing: save before you close it"}`;
    find("[data-do=begin]").textContent = number ? "Go on" : "Begin";
    if (document.activeElement !== comment) comment.value = entry(item).comment || "";
    const open = reveal.checked && mine;
    const reasons = item.querySelector(".said");
    if (reasons) reasons.hidden = !open;
    const checker = item.dataset.checker === "agree" ? "agrees" : "disagrees";
    told.textContent = open
      ? `The checker says that it ${checker}: ${item.dataset.checker === mine ? "as you do." : "you differ."}`
      : number === cases.length ? "All are judged: save them as CSV." : `${here + 1} of ${cases.length}`;
  }
  function go(step) {
    here = Math.min(cases.length - 1, Math.max(0, here + step));
    show();
    cases[here].focus({ preventScroll: true });
  }
  function judge(verdict) {
    const item = cases[here];
    keep(item, { verdict: entry(item).verdict === verdict ? "" : verdict });
    if (reveal.checked || !entry(item).verdict) return;
    const next = [...cases.slice(here + 1), ...cases.slice(0, here)].find((other) => !entry(other).verdict);
    if (next) go(cases.indexOf(next) - here);
  }
  function busy(on) {
    document.body.classList.toggle("reviewing", on);
    show();
    if (on) go(Math.max(0, cases.findIndex((item) => !entry(item).verdict)) - here);
    else find("[data-do=begin]").focus();
    section.scrollIntoView({ behavior: "instant" });
  }

  function save() {
    const cell = (text) => `"${String(text).replace(/^[=+\-@\t\r]/, "'$&").replaceAll('"', '""')}"`;
    const rows = cases.map((item) => [
      item.dataset.id,
      [...item.querySelectorAll(".label")].map((label) => label.textContent).join("|"),
      item.querySelector(".caption").textContent,
      item.dataset.key,
      entry(item).verdict || "",
      entry(item).comment || "",
    ]);
    const lines = [["id", "labels", "caption", "image", "verdict", "comment"], ...rows].map((row) => row.map(cell).join(","));
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([`\ufeff${lines.join("\r\n")}\r\n`], { type: "text/csv" }));
    link.download = `review${name && "-"}${name.replace(/[^\p{L}\p{N}]+/gu, "-")}.csv`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  const does = { begin: () => busy(true), leave: () => busy(false), save };
  section.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.dataset.do) does[button.dataset.do]();
    if (button.dataset.verdict) judge(button.dataset.verdict);
    if (button.dataset.step) go(+button.dataset.step);
  });
  // Letters count only while reviewing and outside of fields, so that nothing else on the page loses a key.
  section.addEventListener("keydown", (event) => {
    if (!document.body.classList.contains("reviewing") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") return busy(false);
    if (event.target.matches("input:not([type=checkbox])")) return;
    const act = {
      a: () => judge("agree"), d: () => judge("disagree"), arrowleft: () => go(-1), arrowright: () => go(1),
    }[event.key.toLowerCase()];
    if (!act) return;
    event.preventDefault();
    act();
  });
  reveal.addEventListener("change", show);
  comment.addEventListener("input", () => keep(cases[here], { comment: comment.value }));
  reviewer.addEventListener("change", () => {
    const before = said, known = load(place(reviewer.value.trim()));
    said = name || Object.keys(known).length ? known : before;  // what was judged without a name belongs to the first
    name = reviewer.value.trim();
    remember(last, name);
    if (said === before) remember(place(name), JSON.stringify(said));
    show();
  });

  name = reviewer.value = recall(last) || "";
  said = load(place(name));
  section.classList.add("ready");
  show();
})();
