"use strict";
(() => {
  const form = document.querySelector("form.filters");
  if (!form) return;
  const cards = [...document.querySelectorAll(".example")].map((card) => ({
    card,
    codes: new Set(card.dataset.codes.split(" ")),
    classes: new Set(card.dataset.classes.split(" ")),
    groups: new Set(card.dataset.groups.split(" ")),
    text: null,
  }));
  const output = form.querySelector("output");
  const empty = document.querySelector(".empty");
  const value = (name) => (form.elements[name] ? form.elements[name].value : "");

  function show() {
    const [code, label, group] = [value("code"), value("class"), value("group")];
    const words = value("words").toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const item of cards) {
      let fits = (!code || item.codes.has(code)) && (!label || item.classes.has(label)) && (!group || item.groups.has(group));
      if (fits && words.length) {
        item.text ??= [".labels", ".caption"].map((part) => item.card.querySelector(part).textContent).join(" ").toLowerCase();
        fits = words.every((word) => item.text.includes(word));
      }
      item.card.hidden = !fits;
      shown += fits;
    }
    output.textContent = shown === cards.length ? `${shown} examples` : `${shown} of ${cards.length} examples`;
    empty.hidden = shown > 0;
  }

  form.addEventListener("input", show);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(show));
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-code], a[data-class], a[data-group]");
    if (!link) return;
    event.preventDefault();
    form.reset();
    if (link.dataset.code !== undefined) form.elements.code.value = link.dataset.code;
    if (link.dataset.class !== undefined) form.elements.class.value = link.dataset.class;
    if (link.dataset.group) form.elements.group.value = link.dataset.group;
    setTimeout(() => {
      show();
      document.getElementById("examples").scrollIntoView();
      form.elements.code.focus({ preventScroll: true });
    });
  });

  function reveal() {
    const target = location.hash.startsWith("#c-") && document.getElementById(location.hash.slice(1));
    if (target && target.hidden) {
      form.reset();
      setTimeout(() => { show(); target.scrollIntoView(); });
    }
  }
  addEventListener("hashchange", reveal);
  show();  // a browser that goes back keeps what was chosen
  reveal();
})();
