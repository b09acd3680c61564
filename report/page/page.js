// The report's page: sorting tables, values under the pointer, the browser of samples. No network, no libraries;
// every text of a model or data set goes through textContent.
"use strict";

(() => {
  const SHOWN = 20; // samples at a time
  const element = (name, attributes = {}, ...children) => {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children.filter((child) => child !== null));
    return node;
  };
  const byId = (id) => document.getElementById(id);

  // ------------------------------------------------------------ light and dark

  byId("theme").addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });

  // ------------------------------------------------------------ where the reader is

  const links = new Map([...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]));
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      for (const link of links.values()) link.removeAttribute("aria-current");
      links.get(entry.target.id)?.setAttribute("aria-current", "true");
    }
  }, { rootMargin: "-10% 0px -80% 0px" });
  document.querySelectorAll("section[id]").forEach((section) => seen.observe(section));

  // ------------------------------------------------------------ tables

  const value = (cell) => cell.dataset.sort ?? cell.textContent.trim();
  const compare = (a, b) => {
    // What is missing goes last, numbers before words.
    if (a === b) return 0;
    if (a === "" || b === "") return a === "" ? 1 : -1;
    const difference = Number(a) - Number(b);
    return Number.isNaN(difference) ? a.localeCompare(b) : difference;
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    table.querySelectorAll("thead th").forEach((head, column) => {
      const button = element("button", { class: "sort", type: "button" }, ...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        table.querySelectorAll("thead th").forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const rows = [...table.tBodies[0].rows].map((row) => [value(row.cells[column]), row]);
        rows.sort(([a], [b]) => (a === "" || b === "" || !down ? compare(a, b) : compare(b, a)));
        table.tBodies[0].append(...rows.map(([, row]) => row));
      });
    });
  }
  for (const select of document.querySelectorAll("select[data-filters]")) {
    select.addEventListener("change", () => {
      for (const row of byId(select.dataset.filters).tBodies[0].rows) {
        row.hidden = select.value !== "" && row.dataset.kind !== select.value;
      }
    });
  }

  // ------------------------------------------------------------ charts: the values under the pointer

  const readout = element("div", { class: "readout", hidden: "" });
  document.body.append(readout);
  const NS = "http://www.w3.org/2000/svg";
  const number = (x) => (Math.abs(x) >= 10000 ? x.toLocaleString("en") : String(x));
  for (const chart of document.querySelectorAll("svg[data-points]")) {
    const cursor = document.createElementNS(NS, "path");
    cursor.setAttribute("class", "cursor");
    let data = null;
    chart.addEventListener("pointermove", (event) => {
      data ??= JSON.parse(chart.dataset.points);
      const box = chart.getBoundingClientRect();
      const width = chart.viewBox.baseVal.width;
      const x = ((event.clientX - box.left) / box.width) * width;
      const nearest = data.lines.map((line) =>
        line.points.reduce((best, point) => (Math.abs(point[2] - x) < Math.abs(best[2] - x) ? point : best)));
      const place = nearest.reduce((best, point) => (Math.abs(point[2] - x) < Math.abs(best[2] - x) ? point : best))[2];
      cursor.setAttribute("d", `M${place} 8V166`);
      if (!cursor.isConnected) chart.append(cursor);
      readout.textContent = nearest.map((point, i) =>
        `${data.x} ${number(point[0])}: ${number(point[1])}${data.lines.length > 1 ? `  ${data.lines[i].name}` : ""}`).join("\n");
      readout.hidden = false;
      const left = Math.min(box.left + (place / width) * box.width + 10, innerWidth - readout.offsetWidth - 6);
      readout.style.left = `${left + scrollX}px`;
      readout.style.top = `${box.top + scrollY + 4}px`;
    });
    chart.addEventListener("pointerleave", () => { readout.hidden = true; cursor.remove(); });
  }

  // ------------------------------------------------------------ samples

  const store = byId("sample-data");
  if (!store) return;
  const { systems, names, metrics, sign, total, parts, rows } = JSON.parse(store.textContent);
  const list = byId("sample-list");
  const status = byId("sample-status");
  const more = byId("sample-more");
  const [search, order, which, set] = ["search", "order", "which", "set"].map((name) => byId(`sample-${name}`));
  const last = systems.length - 1;
  const main = Object.keys(metrics)[0]; // the metric that changes are counted in
  const spread = (scores) => (scores && scores[0] != null && scores[last] != null ? scores[last] - scores[0] : null);

  const ORDERS = {
    change: (row) => -Math.abs(row.change ?? 0),
    gain: (row) => -(row.gain ?? 0),
    loss: (row) => row.gain ?? 0,
    judge: (row) => -Math.abs(spread(row.judge) ?? 0),
    worst: (row) => (row.scores[main][last] == null ? Infinity : sign * row.scores[main][last]),
    row: (row) => row.row,
  };
  const KINDS = {
    all: () => true,
    changed: (row) => row.out[0] !== row.out[last],
    better: (row) => row.gain > 0,
    worse: (row) => row.gain < 0,
    disagree: (row) => (spread(row.judge) ?? 0) * row.gain < 0,
    failed: (row) => row.out.includes(null) || row.failure !== null,
    judged: (row) => row.said !== null,
  };
  const haystack = new WeakMap();
  const text = (row) => {
    if (!haystack.has(row)) {
      haystack.set(row, [row.src, row.ref, ...row.out, ...row.raw, row.said, row.failure].join("\n").toLocaleLowerCase());
    }
    return haystack.get(row);
  };

  let found = [];
  let drawn = 0;
  let shown = SHOWN;
  let lost = 0;
  let loaded = 0;

  const select = () => {
    const words = search.value.toLocaleLowerCase().split(/\s+/).filter(Boolean);
    found = rows.filter((row) =>
      KINDS[which.value](row) && (set.value === "" || (row.set ?? row.pair) === set.value)
      && words.every((word) => text(row).includes(word)));
    const key = ORDERS[order.value];
    found.sort((a, b) => key(a) - key(b) || a.row - b.row);
  };
  const draw = (from) => {
    const words = search.value.split(/\s+/).filter(Boolean);
    if (from === 0) list.replaceChildren();
    list.append(...found.slice(from, shown).map((row) => sample(row, words)));
    drawn = Math.min(shown, found.length);
    more.hidden = drawn === found.length;
    more.textContent = `Show ${Math.min(SHOWN, found.length - drawn)} more`;
    const loading = loaded < parts.length ? ` Reading ${rows.length} of ${total} samples.` : "";
    const missing = lost ? ` ${total - rows.length} samples lie in files beside this page that were not found.` : "";
    status.textContent = `${found.length} of ${total} samples, ${drawn} shown.${loading}${missing}`;
  };
  const refresh = () => { shown = SHOWN; select(); draw(0); };

  const sample = (row, words) => {
    const head = element("h3", {}, element("b", {}, `Segment ${row.row}`), `${row.set ? `${row.set}, ` : ""}${row.pair}`);
    if (last > 0) head.append(element("span", {}, `${metrics[main]} ${row.change === null ? "not scored" : signed(row.change)}`));
    const texts = element("div", { class: "texts" }, given("Source", row.src, words), given("Reference", row.ref, words));
    const [removed, added] = last > 0 ? differences(row.out[0], row.out[last]) : [null, null];
    systems.forEach((system, i) => {
      const parts = i === 0 ? removed : i === last ? added : null;
      texts.append(output(row, i, parts, i === 0 ? "del" : "ins", words));
    });
    const node = element("article", { class: "sample" }, head, texts);
    if (row.said !== null) {
      const title = row.failure ? element("h4", { class: "failure" }, `The judge’s answer cannot be used (${row.failure}); it wrote`)
        : element("h4", {}, `The judge on ${row.labels.map((label, i) => (label ? `${label} = ${names[i]}` : null)).filter(Boolean).sort().join(", ")}`);
      node.append(element("div", { class: "said" }, title, marked("pre", row.said, words)));
    }
    return node;
  };
  const given = (title, content, words) =>
    element("div", { class: "text" }, element("h4", {}, title), marked("pre", content, words));
  const output = (row, i, parts, tag, words) => {
    const box = element("div", { class: "text" }, element("h4", {}, names[i]));
    if (row.out[i] === null) {
      box.append(element("p", { class: "failure" }, "No translation found in the answer:"), marked("pre", row.raw[i], words));
    } else if (parts === null || words.length) {
      box.append(marked("pre", row.out[i], words));
    } else {
      box.append(element("pre", {}, ...parts.map(([same, part]) => (same ? part : element(tag, {}, part)))));
    }
    const facts = [];
    if (row.judge && row.judge[i] != null) facts.push(`judge ${row.judge[i]}`);
    for (const [name, values] of Object.entries(row.scores)) facts.push(`${metrics[name]} ${values[i] ?? "–"}`);
    box.append(element("p", { class: "facts" }, facts.join(" · ")));
    return box;
  };
  const signed = (x) => (x > 0 ? `+${x}` : x < 0 ? `−${-x}` : "±0");

  // A text with what was searched for marked.
  const marked = (name, content, words) => {
    const node = element(name);
    const low = content.toLocaleLowerCase();
    const needles = low.length === content.length ? words.map((word) => word.toLocaleLowerCase()) : [];
    let place = 0;
    while (place < content.length) {
      let start = content.length;
      let length = 0;
      for (const needle of needles) {
        const at = low.indexOf(needle, place);
        if (at !== -1 && at < start) [start, length] = [at, needle.length];
      }
      node.append(content.slice(place, start));
      if (length) node.append(element("mark", {}, content.slice(start, start + length)));
      place = start + length;
    }
    return node;
  };

  // What the first text has and the last lacks, and the other way round: word by word, character by character where
  // spaces do not part words.
  const tokens = (content) => content.match(/[\u2e80-\u9fff\uac00-\ud7af\u0e00-\u0e7f]|[^\s\u2e80-\u9fff\uac00-\ud7af\u0e00-\u0e7f]+|\s+/gu) ?? [];
  const differences = (first, second) => {
    if (first === null || second === null || first === second) return [null, null];
    const [a, b] = [tokens(first), tokens(second)];
    if (a.length * b.length > 250000) return [null, null];
    const longest = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
    for (let i = a.length - 1; i >= 0; i--) {
      for (let j = b.length - 1; j >= 0; j--) {
        longest[i][j] = a[i] === b[j] ? longest[i + 1][j + 1] + 1 : Math.max(longest[i + 1][j], longest[i][j + 1]);
      }
    }
    const [left, right] = [[], []];
    let [i, j] = [0, 0];
    while (i < a.length || j < b.length) {
      if (i < a.length && j < b.length && a[i] === b[j]) {
        left.push([true, a[i++]]);
        right.push([true, b[j++]]);
      } else if (j >= b.length || (i < a.length && longest[i + 1][j] >= longest[i][j + 1])) left.push([false, a[i++]]);
      else right.push([false, b[j++]]);
    }
    return [left, right];
  };

  let waiting = 0;
  search.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(refresh, 120); });
  for (const control of [order, which, set]) control.addEventListener("change", refresh);
  more.addEventListener("click", () => { shown += SHOWN; draw(drawn); });

  // The other samples, one file after another, once the page has been painted.
  window.grrmSamples = (part) => { rows.push(...part); };
  const loadNext = () => {
    const script = element("script", { src: parts[loaded] });
    const next = () => {
      script.remove();
      loaded += 1;
      // What is on the screen stays as it is while the default order goes on: the largest changes come first.
      if (loaded === parts.length && order.value !== "change") refresh();
      else { select(); draw(drawn); }
      if (loaded < parts.length) loadNext();
    };
    script.addEventListener("load", next);
    script.addEventListener("error", () => { lost += 1; next(); });
    document.head.append(script);
  };
  refresh();
  if (parts.length) requestAnimationFrame(() => setTimeout(loadNext, 0));
})();
