(() => {
  "use strict";
  const root = document.documentElement;
  const say = (text) => { document.getElementById("status").textContent = text; };
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  // Theme: as the system has it, until somebody chooses.
  const themeButton = document.getElementById("theme");
  const prefersDark = matchMedia("(prefers-color-scheme: dark)");
  const remember = {
    get: () => { try { return localStorage.getItem("flp-report-theme"); } catch { return null; } },
    set: (theme) => { try { localStorage.setItem("flp-report-theme", theme); } catch { /* A page may be forbidden to remember. */ } },
  };
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : prefersDark.matches);
  const showTheme = () => { themeButton.textContent = isDark() ? "Light mode" : "Dark mode"; };
  if (["light", "dark"].includes(remember.get())) root.dataset.theme = remember.get();
  themeButton.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    remember.set(root.dataset.theme);
    showTheme();
  });
  prefersDark.addEventListener("change", showTheme);
  showTheme();

  // Tables: every learner is a tbody, so that what failed stays below its row. What is not known comes last.
  const valueOf = (body, column) => {
    const cell = body.rows[0].cells[column];
    const value = cell.dataset.value ?? (cell.classList.contains("text") ? cell.textContent.trim() : "");
    return value === "" ? null : cell.matches("th, .text") ? value : Number(value);
  };
  const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b);
  all("[data-sort]").forEach((button) => button.addEventListener("click", () => {
    const heading = button.closest("th");
    const table = heading.closest("table");
    const ascending = heading.getAttribute("aria-sort") !== "ascending";
    const rows = [...table.tBodies].map((body) => [valueOf(body, heading.cellIndex), body]);
    rows.sort(([a], [b]) => (a === null || b === null ? (a === null) - (b === null) : (ascending ? 1 : -1) * compare(a, b)));
    table.append(...rows.map(([, body]) => body));
    all("th[aria-sort]", table).forEach((other) => other.setAttribute("aria-sort", "none"));
    heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    say(`Sorted by ${button.textContent}, ${ascending ? "ascending" : "descending"}.`);
  }));

  // Wide tables: a sign as long as columns are out of sight.
  const wide = all(".wide");
  const showSign = (box) => {
    const hidden = box.scrollWidth - box.clientWidth;
    box.classList.toggle("more-left", box.scrollLeft > 1);
    box.classList.toggle("more-right", box.scrollLeft < hidden - 1);
    const sign = box.previousElementSibling;
    if (sign?.matches(".scroll-sign")) sign.hidden = hidden <= 1;
  };
  const showSigns = () => wide.forEach(showSign);
  wide.forEach((box) => box.addEventListener("scroll", () => showSign(box), { passive: true }));
  addEventListener("resize", showSigns);
  all("details").forEach((part) => part.addEventListener("toggle", showSigns));
  showSigns();

  // Curves: at first those of learners that somebody brought, and of the best.
  const fewest = 7;
  all(".legend").forEach((legend) => {
    const section = legend.closest("section");
    const buttons = all("[data-toggle]", legend);
    const own = buttons.filter((button) => "own" in button.dataset).length;
    const shownAtFirst = Math.max(fewest, own && own + fewest - 1);
    const everything = legend.querySelector("[data-toggle-all]");
    const show = (button, shown) => {
      button.setAttribute("aria-pressed", String(shown));
      const index = button.dataset.toggle;
      all(`[data-series="${index}"], [data-legend="${index}"]`, section).forEach((part) => part.toggleAttribute("hidden", !shown));
    };
    const refresh = () => {
      const hidden = buttons.some((button) => button.getAttribute("aria-pressed") === "false");
      everything.textContent = hidden ? "Show all" : "Show fewer";
      everything.hidden = !hidden && buttons.length <= shownAtFirst;
    };
    const showBest = () => buttons.forEach((button, place) => show(button, place < shownAtFirst));
    buttons.forEach((button) => {
      const emphasise = (on) => {
        const pressed = button.getAttribute("aria-pressed") === "true";
        section.classList.toggle("emphasis", on && pressed);
        all(`[data-series="${button.dataset.toggle}"]`, section).forEach((part) => part.classList.toggle("chosen", on));
      };
      button.addEventListener("click", () => {
        show(button, button.getAttribute("aria-pressed") !== "true");
        emphasise(true);
        refresh();
      });
      button.addEventListener("pointerenter", () => emphasise(true));
      button.addEventListener("pointerleave", () => emphasise(false));
      button.addEventListener("blur", () => emphasise(false));
    });
    everything.addEventListener("click", () => {
      if (buttons.some((button) => button.getAttribute("aria-pressed") === "false")) buttons.forEach((button) => show(button, true));
      else showBest();
      refresh();
    });
    showBest();
    refresh();
  });

  // Figures: as on paper, with the curves that are shown and, below, a legend of them.
  const paper = getComputedStyle(document.querySelector(".paper"));
  const rowHeight = 12;
  const onPaper = (svg) => {
    const copy = svg.cloneNode(true);
    all("[hidden]", copy).forEach((part) => part.remove());
    const [, , width, height] = copy.getAttribute("viewBox").split(" ").map(Number);
    const entries = [...new Set(all("[data-legend]", copy).map((part) => part.dataset.legend))];
    const rows = Math.ceil(entries.length / 2);
    entries.forEach((entry, place) => all(`[data-legend="${entry}"]`, copy).forEach((part) => {
      part.setAttribute("transform", `translate(${place < rows ? 0 : width / 2} ${(place % rows + 1) * rowHeight})`);
    }));
    const total = height + (rows ? (rows + 1) * rowHeight - 4 : 0);
    const attributes = { viewBox: `0 0 ${width} ${total}`, width: `${width}pt`, height: `${total}pt` };
    Object.entries(attributes).forEach(([name, value]) => copy.setAttribute(name, value));
    const background = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    Object.entries({ width, height: total, fill: "var(--page)" }).forEach(([name, value]) => background.setAttribute(name, value));
    copy.prepend(background);
    const text = new XMLSerializer().serializeToString(copy);
    return { width, height: total, text: text.replace(/var\((--[\w-]+)\)/g, (_, name) => paper.getPropertyValue(name).trim()) };
  };
  const save = (blob, name) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    say(`Saved ${name}.`);
  };
  const pixelsPerPoint = 300 / 72;
  all("[data-save]").forEach((button) => button.addEventListener("click", () => {
    const figure = button.closest("figure");
    const { width, height, text } = onPaper(figure.querySelector(".canvas svg"));
    const name = `${figure.id}.${button.dataset.save}`;
    if (button.dataset.save === "svg") {
      save(new Blob(['<?xml version="1.0" encoding="UTF-8"?>\n', text, "\n"], { type: "image/svg+xml" }), name);
      return;
    }
    const image = new Image();
    image.onload = () => {
      const canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [width, height].map((length) => Math.round(length * pixelsPerPoint));
      canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
      canvas.toBlob((blob) => save(blob, name), "image/png");
    };
    image.onerror = () => say("This browser cannot draw the picture: save the SVG.");
    image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  }));

  // Tables as text.
  all("[data-download]").forEach((button) => button.addEventListener("click", () => {
    const source = button.closest(".source");
    save(new Blob([source.querySelector("pre").textContent], { type: "text/plain" }), source.dataset.name);
  }));
  all("[data-copy]").forEach((button) => button.addEventListener("click", async () => {
    const text = button.closest(".source").querySelector("pre");
    const label = button.firstChild;
    try {
      await navigator.clipboard.writeText(text.textContent);
      label.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(text);
      label.textContent = document.execCommand("copy") ? "Copied" : "Selected: copy it by keyboard";
    }
    say(label.textContent);
    setTimeout(() => { label.textContent = "Copy"; }, 2500);
  }));
})();
