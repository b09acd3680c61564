// The browser of annotated groups. No network, no libraries; every text of a model or data set goes through
// textContent.
"use strict";

(() => {
  const SHOWN = 20; // groups at a time
  const byId = (id) => document.getElementById(id);
  const element = (name, kind, ...children) => {
    const node = document.createElement(name);
    if (kind) node.className = kind;
    node.append(...children);
    return node;
  };
  const groups = JSON.parse(byId("group-data").textContent);
  const [list, status, more] = ["list", "status", "more"].map((name) => byId(`group-${name}`));
  const [search, which, system] = ["search", "which", "system"].map((name) => byId(`group-${name}`));
  const texts = groups.map((group) => [
    group.src_text, group.trg_text, ...group.candidates.map((one) => one.text), ...group.answers.map((one) => one.answer),
  ].join("\n").toLocaleLowerCase());
  let shown = SHOWN;

  const text = (title, body, facts) =>
    element("div", "text", element("h4", "", title), element("pre", "", body ?? ""), element("p", "facts", facts ?? ""));

  const label = (position) => String.fromCharCode(65 + position);

  const said = (group, answer) => {
    const order = answer.order.map((candidate, position) => `${label(position)} is ${candidate + 1}`).join(", ");
    const scores = answer.scores
      ? answer.order.map((candidate, position) => `${label(position)}: ${answer.scores[candidate]}`).join(", ")
      : "";
    const head = element("h4", "", `Shown as ${order}. `);
    head.append(answer.failure ? element("span", "failure", `${answer.failure}: ${answer.detail ?? ""}`) : scores);
    return element("div", "said", head, element("pre", "", answer.answer));
  };

  const card = (group) => {
    const kept = group.dropped === null;
    const head = element("h3", "", element("b", "", `${group.src_lang}-${group.trg_lang}`));
    head.append(kept ? element("span", "", "kept") : element("span", "failure", `dropped: ${group.dropped}`));
    if (group.agreement !== null) head.append(element("span", "", `agreement ${(100 * group.agreement).toFixed(0)} %`));
    const candidates = group.candidates.map((one, i) =>
      text(`${i + 1}: ${one.systems.join(", ")}`, one.text, group.scores ? `score ${group.scores[i]}` : ""));
    const details = element("details", "", element("summary", "", `${group.answers.length} answers of the teacher`));
    details.append(...group.answers.map((answer) => said(group, answer)));
    const all = element("div", "texts", text("source", group.src_text), text("reference", group.trg_text), ...candidates);
    return element("article", "sample", head, all, element("div", "said", details));
  };

  const draw = () => {
    const words = search.value.toLocaleLowerCase().split(/\s+/).filter(Boolean);
    const found = groups.filter((group, i) =>
      words.every((word) => texts[i].includes(word))
      && (which.value === "" || (group.dropped ?? "kept") === which.value)
      && (system.value === "" || group.candidates.some((one) => one.systems.includes(system.value))));
    list.replaceChildren(...found.slice(0, shown).map(card));
    status.textContent = `${found.length} of ${groups.length} groups`;
    more.hidden = found.length <= shown;
  };
  for (const control of [search, which, system]) {
    control.addEventListener(control === search ? "input" : "change", () => { shown = SHOWN; draw(); });
  }
  more.addEventListener("click", () => { shown += SHOWN; draw(); });
  draw();
})();
