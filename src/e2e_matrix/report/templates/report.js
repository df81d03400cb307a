"use strict";
// What the page can do beyond reading: filter, sort, search and copy. Everything essential is there without it.
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const list = document.querySelector(".list");
  const form = document.querySelector(".filter");
  const said = document.body.appendChild(document.createElement("output"));
  said.className = "hidden";
  document.documentElement.classList.add("js");
  const make = (tag, properties) => Object.assign(document.createElement(tag), properties);

  // A cell as the filter sees it: its place in the list, and the links that lead to it from elsewhere.
  const cells = all("article.cell").map((row, rank) => ({
    row,
    rank,
    links: [],
    outcome: row.dataset.o,
    flaky: "flaky" in row.dataset,
    values: row.dataset.v.split(" "),
    place: Number(row.dataset.n),
    seconds: Number(row.dataset.t ?? -1),
    cost: Number(row.dataset.c ?? -1),
    words: row.querySelector("summary").textContent.toLowerCase(),
  }));
  const byAnchor = new Map(cells.map(cell => [cell.row.id, cell]));
  for (const link of all("a.slot, a.bar")) byAnchor.get(link.getAttribute("href").slice(1))?.links.push(link);

  // ---- what is inside a cell, where the page is too large to hold it as it is

  const packs = all("template.pack");
  const opened = new Map();

  const unpack = number => {
    if (!opened.has(number)) {
      const bytes = Uint8Array.from(atob(packs[number].innerHTML.trim()), letter => letter.charCodeAt(0));
      const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
      opened.set(number, new Response(stream).json());
    }
    return opened.get(number);
  };

  const fill = async row => {
    const inside = row.querySelector(".packed");
    if (!inside || inside.dataset.filled) return;
    inside.dataset.filled = "yes";
    try {
      const fragments = await unpack(Number(inside.dataset.pack));
      inside.innerHTML = fragments[Number(inside.dataset.part)];
      enhance(inside);
    } catch (error) {
      delete inside.dataset.filled;
      inside.append(make("p", { className: "message", textContent: `This cell cannot be shown: ${error}` }));
    }
  };

  // ---- the state: what is filtered, sorted and opened, as the address has it

  const fields = form ? [...form.elements].filter(field => field.name) : [];
  let at = "";

  const address = () => {
    const chosen = fields.filter(field => field.value).map(field => [field.name, field.value]);
    if (!chosen.length) return `#${at}`;
    return `#${new URLSearchParams(at ? [...chosen, ["at", at]] : chosen)}`;
  };

  // A page in a frame of somebody else's may have no history of its own.
  const remember = how => {
    try {
      history[how](null, "", address() === "#" ? location.pathname + location.search : address());
    } catch {
      // What is shown is right; only the address does not say it.
    }
  };

  const restore = () => {
    const fragment = location.hash.slice(1);
    const state = new URLSearchParams(fragment.includes("=") ? fragment : "");
    for (const field of fields) field.value = state.get(field.name) ?? "";
    // A select takes no value that it does not have, which would look like a filter that is not there.
    for (const field of fields) if (field.selectedIndex === -1) field.value = "";
    at = fragment.includes("=") ? state.get("at") ?? "" : fragment;
    apply();
    show(at);
  };

  const show = anchor => {
    const target = anchor && document.getElementById(anchor);
    for (const cell of cells) cell.row.classList.toggle("at", cell.row === target);
    if (!target) return;
    const cell = byAnchor.get(anchor);
    if (cell) {
      cell.row.hidden = false;
      cell.row.querySelector("details").open = true;
      cell.row.querySelector("summary").focus({ preventScroll: true });
      count();
    } else {
      target.tabIndex = -1;
      target.focus({ preventScroll: true });
    }
    if (form) {
      const above = getComputedStyle(form).position === "sticky" ? form.offsetHeight + 8 : 0;
      document.documentElement.style.scrollPaddingTop = above ? `${above}px` : "";
    }
    target.scrollIntoView();
  };

  // ---- filter and sort

  const ORDERS = {
    "": (one, other) => one.rank - other.rank,
    plan: (one, other) => one.place - other.place,
    time: (one, other) => other.seconds - one.seconds,
    cost: (one, other) => other.cost - one.cost,
  };

  const matches = (cell, text, outcome, axes) =>
    (!outcome || (outcome === "flaky" ? cell.flaky : cell.outcome === outcome)) &&
    axes.every(([number, value]) => cell.values[number] === value) &&
    text.every(word => cell.words.includes(word));

  let order = "";
  let wasFiltered = false;

  // How many cells the list shows; one that was linked to is there, whatever the filter says.
  const count = () => {
    if (!form) return;
    const shown = cells.filter(cell => !cell.row.hidden).length;
    form.querySelector("output").value = shown < cells.length ? `${shown} of ${cells.length} cells` : "";
    document.querySelector(".nothing").hidden = shown > 0;
  };

  const apply = () => {
    if (!form) return;
    const text = form.elements.q.value.toLowerCase().split(/\s+/).filter(Boolean);
    const axes = all("select[data-axis]", form)
      .filter(field => field.value)
      .map(field => [Number(field.dataset.axis), field.selectedOptions[0].dataset.v]);
    let shown = 0;
    for (const cell of cells) {
      const wanted = matches(cell, text, form.elements.outcome.value, axes);
      shown += wanted;
      cell.row.hidden = !wanted;
      for (const link of cell.links) link.classList.toggle("out", !wanted);
    }
    const filtered = shown < cells.length;
    for (const line of all(".grid tbody tr, .grid-group")) {
      line.hidden = filtered && !line.querySelector("a.slot:not(.out)");
    }
    for (const group of all("details.grid-group")) {
      if (filtered && !wasFiltered) group.dataset.was = group.open ? "open" : "";
      if (filtered) group.open = !group.hidden;
      else if (wasFiltered) group.open = Boolean(group.dataset.was);
    }
    wasFiltered = filtered;
    if (order !== form.elements.sort.value) {
      order = form.elements.sort.value;
      list.append(...[...cells].sort(ORDERS[order]).map(cell => cell.row));
    }
    form.querySelector("[type=reset]").hidden = !fields.some(field => field.value);
    count();
  };

  const changed = () => {
    apply();
    remember("replaceState");
  };

  // ---- a log: search, and go from hit to hit

  const MOST_HITS = 2000;

  const searchable = log => {
    const pre = log.querySelector("pre");
    const text = pre.textContent;
    const tools = make("div", { className: "log-tools" });
    const field = make("input", { type: "search", placeholder: "Search", spellcheck: false });
    field.setAttribute("aria-label", `Search in ${pre.getAttribute("aria-label")}`);
    const count = make("output", {});
    const buttons = [["Previous", -1], ["Next", 1]].map(([name, by]) => {
      const button = make("button", { type: "button", textContent: name });
      button.addEventListener("click", () => step(by));
      return button;
    });
    tools.append(field, ...buttons, count);
    pre.before(tools);
    let hits = [];
    let current = 0;

    const find = () => {
      const wanted = field.value.toLowerCase();
      const lower = text.toLowerCase();
      const parts = [];
      let end = 0;
      // Lower case may be longer than the text, in few languages: then nothing can be marked.
      if (wanted && lower.length === text.length) {
        for (let from = lower.indexOf(wanted); from >= 0 && parts.length < 2 * MOST_HITS; ) {
          parts.push(text.slice(end, from), make("mark", { textContent: text.slice(from, from + wanted.length) }));
          end = from + wanted.length;
          from = lower.indexOf(wanted, end);
        }
      }
      pre.replaceChildren(...parts, text.slice(end));
      hits = all("mark", pre);
      current = 0;
      step(0);
    };

    const step = by => {
      hits[current]?.classList.remove("current");
      current = hits.length ? (current + by + hits.length) % hits.length : 0;
      const hit = hits[current];
      hit?.classList.add("current");
      if (hit) pre.scrollTop = hit.offsetTop - pre.offsetTop - pre.clientHeight / 2;
      const more = hits.length === MOST_HITS ? " or more" : "";
      count.value = hits.length ? `${current + 1} of ${hits.length}${more}` : field.value ? "not found" : "";
      for (const button of buttons) button.disabled = hits.length < 2;
    };

    field.addEventListener("input", find);
    field.addEventListener("keydown", event => {
      if (event.key !== "Enter") return;
      event.preventDefault();
      step(event.shiftKey ? -1 : 1);
    });
    step(0);
  };

  // ---- a command: copy it

  const copyable = command => {
    const button = make("button", { type: "button", className: "copy", textContent: "Copy" });
    button.setAttribute("aria-label", `Copy: ${command.textContent.slice(0, 200)}`);
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(command.textContent);
        button.textContent = said.value = "Copied";
      } catch {
        // Where the clipboard is out of reach, what is selected can still be copied by hand.
        getSelection().selectAllChildren(command);
        button.textContent = said.value = "Selected";
      }
    });
    command.after(button);
  };

  const enhance = root => {
    for (const log of all(".log", root)) searchable(log);
    for (const command of all("code.command", root)) copyable(command);
  };

  // ---- begin

  document.addEventListener("toggle", event => {
    const row = event.target.closest("article.cell");
    if (row && event.target.open && event.target.parentElement === row) fill(row);
  }, true);

  document.addEventListener("click", event => {
    const link = event.target.closest?.("a[href^='#']");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    at = link.getAttribute("href").slice(1);
    if (address() !== location.hash) remember("pushState");
    show(at);
  });

  if (form) {
    form.hidden = false;
    form.addEventListener("input", changed);
    form.addEventListener("reset", () => setTimeout(() => {
      changed();
      form.elements.q.focus();
    }));
    form.addEventListener("submit", event => event.preventDefault());
  }
  addEventListener("popstate", restore);
  addEventListener("hashchange", restore);
  enhance(document);
  restore();
})();
