
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const boxes = [...document.querySelectorAll("input[type=checkbox]")];
  const total = document.getElementById("total");
  const save = document.getElementById("save");
  const groups = new Map();
  for (const box of boxes) {
    box.disabled = false;
    const group = Number(box.dataset.group);
    if (!groups.has(group)) groups.set(group, []);
    groups.get(group).push(box);
  }
  const size = (n) => {
    const units = ["B", "kB", "MB", "GB", "TB"];
    let i = 0;
    while (n >= 1000 && i < units.length - 1) { n /= 1000; i++; }
    return (i > 0 && n < 10 ? n.toFixed(1) : Math.round(n)) + " " + units[i];
  };
  // One file of each group stays, whatever is ticked.
  const allGo = (group) => {
    const list = groups.get(group);
    return list.length === data.groups[group].files.length && list.every((box) => box.checked);
  };
  const count = (note) => {
    let files = 0, bytes = 0;
    for (const box of boxes) {
      if (box.checked) { files++; bytes += Number(box.dataset.bytes); }
    }
    total.textContent = (note ? note + " " : "") + (files === 0 ? "Nothing selected" : files + (files === 1 ? " file, " : " files, ") + size(bytes) + " selected");
    save.disabled = files === 0;
  };
  const others = (list) => { for (const box of list) box.checked = !box.dataset.best; };
  document.addEventListener("change", (event) => {
    const box = event.target;
    if (!boxes.includes(box)) return;
    let note = "";
    if (box.checked && allGo(Number(box.dataset.group))) {
      box.checked = false;
      note = "One file of each group must stay.";
    }
    count(note);
  });
  for (const button of document.querySelectorAll("button.others")) {
    const list = groups.get(Number(button.dataset.group) - 1);
    if (!list) continue;
    button.hidden = false;
    button.addEventListener("click", () => { others(list); count(); });
  }
  const on = (id, act) => {
    const button = document.getElementById(id);
    button.hidden = boxes.length === 0;
    button.addEventListener("click", act);
  };
  on("others", () => { for (const list of groups.values()) others(list); count(); });
  on("clear", () => { for (const box of boxes) box.checked = false; count(); });
  on("save", () => {
    const chosen = [];
    for (const [group, list] of groups) {
      if (!list.some((box) => box.checked)) continue;
      const going = new Set(list.filter((box) => box.checked).map((box) => Number(box.dataset.index)));
      const files = data.groups[group].files.map((file, i) => ({ ...file, keep: !going.has(i) }));
      chosen.push({ ...data.groups[group], files });
    }
    const head = data.similar ? { similar: true, reviewed: true } : { reviewed: true };
    const text = JSON.stringify({ ...head, saved_at: new Date().toISOString(), groups: chosen }, null, 1) + "\n";
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    link.download = "selection.json";
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  });
  document.getElementById("next").hidden = boxes.length === 0;
  // Leaving with a choice that was not saved asks first, by the browser's own words.
  let saved = "";
  const choice = () => boxes.map((box) => (box.checked ? 1 : 0)).join("");
  saved = choice();
  save.addEventListener("click", () => { saved = choice(); });
  window.addEventListener("beforeunload", (event) => { if (choice() !== saved) event.preventDefault(); });
  count();
})();
