"use strict";
const $ = (id) => document.getElementById(id);
const root = document.documentElement;
const number = new Intl.NumberFormat("en");
const SVG = document.querySelector("svg").namespaceURI;

/* ------------------------------------------------------------------------------ the data */

const data = JSON.parse($("data").textContent);
const columnOf = ({ values, at }) => at.map((n) => values[n]);
const images = data.images;
for (const name of ["part", "label", "rows", "columns", "sex", "view", "encoding"]) images[name] = columnOf(images[name]);
const count = images.id.length;
images.path = images.path.map((path, row) => path.replaceAll("\0", images.id[row]));

/* An image is named by its row, or by its id where the table does not have it. */
const idOf = (name) => (typeof name === "number" ? images.id[name] : name);
const homes = new Map();
images.id.forEach((id, row) => { if (!homes.has(id)) homes.set(id, row); });
const home = (row) => homes.get(images.id[row]);
const pictures = new Map(data.pictures.map((name, at) => [name, at]));
const pictureOf = (name) => pictures.get(typeof name === "number" ? home(name) : name);

const codes = Array.from({ length: count }, () => []);
for (const finding of data.findings) {
  finding.notes = columnOf(finding.notes);
  finding.others = (place) => {
    const cluster = finding.clusters[finding.in[place]] || [];
    return cluster.filter((name) => name !== finding.items[place]);
  };
  const concerned = new Set([...finding.items, ...finding.clusters.flat()]);
  finding.rows = new Set([...concerned].filter((name) => typeof name === "number"));
  for (const row of finding.rows) codes[row].push(finding);
}
const codesOf = (name) => (typeof name === "number" ? codes[home(name)] : []);

/* --------------------------------------------------------------------------- small makers */

function make(tag, values = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(values)) {
    if (name === "class") element.className = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

function drawn(tag, values, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(values)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const icon = (severity) =>
  drawn("svg", { class: `icon ${severity}`, viewBox: "0 0 16 16", "aria-hidden": "true" }, drawn("use", { href: `#icon-${severity}` }));

/* Pages of a long list: only one page of it is ever in the document. */
function pager(box, size, show) {
  let at = 0, total = 0;
  const place = make("span");
  const step = (by) => { at += by; render(); };
  const back = make("button", { type: "button", onclick: () => step(-size) }, "Previous");
  const on = make("button", { type: "button", onclick: () => step(size) }, "Next");
  box.append(back, place, on);
  function render() {
    const end = Math.min(at + size, total);
    box.hidden = total <= size;
    place.textContent = `${number.format(at + 1)}–${number.format(end)} of ${number.format(total)}`;
    const focused = document.activeElement;
    back.disabled = at === 0;
    on.disabled = end >= total;
    if (focused === back && back.disabled) on.focus();
    if (focused === on && on.disabled) back.focus();
    show(at, end);
  }
  return (newTotal) => { total = newTotal; at = 0; render(); };
}

async function copy(text, button) {
  let done = true;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = make("textarea", { readonly: "", class: "out" });
    area.value = text;
    button.after(area);
    area.select();
    done = document.execCommand("copy");
    area.remove();
    button.focus();
  }
  const said = button.textContent;
  if (said !== "Copied" && said !== "Not copied") {
    button.textContent = done ? "Copied" : "Not copied";
    setTimeout(() => { button.textContent = said; }, 1400);
  }
}

const words = (text) => text.toLowerCase().split(/\s+/).filter(Boolean);

/* ------------------------------------------------------------------------------- findings */

const cards = [...document.querySelectorAll("article.finding")];
const chosen = { severity: "", group: "" };
const buttons = [...document.querySelectorAll("button[data-filter]")];

function filterCards() {
  let shown = 0;
  for (const card of cards) {
    card.hidden = ["severity", "group"].some((name) => chosen[name] && card.dataset[name] !== chosen[name]);
    shown += !card.hidden;
  }
  for (const button of buttons) {
    button.setAttribute("aria-pressed", String(chosen[button.dataset.filter] === button.dataset.value));
  }
  $("findings-status").textContent = shown === cards.length ? "" : `${shown} of ${cards.length} findings`;
}

for (const button of buttons) {
  button.addEventListener("click", () => {
    chosen[button.dataset.filter] = button.dataset.value;
    filterCards();
  });
}

function goToFinding(card) {
  if (card.hidden) {
    chosen.severity = chosen.group = "";
    filterCards();
  }
  for (const other of cards) other.classList.toggle("aimed", other === card);
  card.focus({ preventScroll: true });
  card.scrollIntoView({ block: "start" });
}

function aim() {
  const card = $(decodeURIComponent(location.hash.slice(1)));
  if (card && cards.includes(card)) goToFinding(card);
}
window.addEventListener("hashchange", aim);

function named(name, list) {
  const id = idOf(name);
  if (typeof name !== "number" && pictureOf(name) === undefined) return make("bdi", { class: "uid" }, id);
  return make("button", { type: "button", class: "link uid", onclick: () => openViewer(list(), name) }, make("bdi", {}, id));
}

const MOST_OTHERS = 6;

function itemRow(finding, place, list) {
  const row = make("li", {}, named(finding.items[place], list));
  if (finding.notes[place]) row.append(make("span", { class: "note" }, finding.notes[place]));
  const others = finding.others(place);
  const add = (names) => {
    for (const other of names) row.append(make("span", { class: "with" }, "with ", named(other, () => [finding.items[place], ...others])));
  };
  add(others.slice(0, MOST_OTHERS));
  if (others.length > MOST_OTHERS) {
    const rest = others.slice(MOST_OTHERS);
    const more = make("button", { type: "button" }, `and ${number.format(rest.length)} more`);
    more.addEventListener("click", () => { more.remove(); add(rest); });
    row.append(more);
  }
  return row;
}

function fillListing(box) {
  const finding = data.findings[Number(box.dataset.finding)];
  const list = box.querySelector("ul");
  const places = [...finding.items.keys()];
  let found = places;
  const all = () => [...new Set(found.map((place) => finding.items[place]))];
  const pages = make("div", { class: "pager" });
  const show = pager(pages, 25, (from, to) => {
    list.replaceChildren(...found.slice(from, to).map((place) => itemRow(finding, place, all)));
  });
  if (finding.items.length > 8) {
    const status = make("p", { class: "quiet status", role: "status" });
    const input = make("input", { type: "search", placeholder: "id or reason", autocomplete: "off", spellcheck: "false", "aria-label": `Search the entries of ${finding.code}` });
    input.addEventListener("input", () => {
      const wanted = words(input.value);
      found = places.filter((place) => {
        const text = [idOf(finding.items[place]), finding.notes[place], ...finding.others(place).map(idOf)].join(" ").toLowerCase();
        return wanted.every((word) => text.includes(word));
      });
      status.textContent = wanted.length ? `${number.format(found.length)} of ${number.format(places.length)}` : "";
      show(found.length);
    });
    list.before(make("div", { class: "find" }, input), status);
  }
  box.querySelector(".rest")?.remove();
  list.after(pages);
  show(found.length);
}

for (const box of document.querySelectorAll("details.listing")) {
  box.addEventListener("toggle", () => fillListing(box), { once: true });
}

/* ---------------------------------------------------------------------------------- masks */

for (const box of document.querySelectorAll(".mask-on")) {
  box.addEventListener("change", () => {
    root.classList.toggle("no-masks", !box.checked);
    for (const other of document.querySelectorAll(".mask-on")) other.checked = box.checked;
  });
}
for (const slider of document.querySelectorAll(".mask-tint")) {
  slider.addEventListener("input", () => {
    root.style.setProperty("--tint", slider.value / 100);
    for (const other of document.querySelectorAll(".mask-tint")) {
      other.value = slider.value;
      other.setAttribute("aria-valuetext", `${slider.value} %`);
    }
  });
}

/* --------------------------------------------------------------------------------- viewer */

const viewer = $("viewer"), stage = $("stage"), box = $("picture-box"), canvas = $("canvas");
const MOST_ZOOM = 16;
const view = { list: [], at: 0, grey: null, width: 1, height: 1, centre: 128, range: 256, inverted: false, zoom: 1, x: 0, y: 0 };

function openViewer(list, name) {
  view.list = list;
  resetWindow();
  if (!viewer.open) viewer.showModal();
  show(list.indexOf(name));
  stage.focus();
}

function move(by) {
  const to = view.at + by;
  if (to >= 0 && to < view.list.length) show(to);
}

async function show(at) {
  view.at = at;
  const name = view.list[at];
  $("viewer-title").textContent = idOf(name);
  $("viewer-place").textContent = view.list.length > 1 ? `${number.format(at + 1)} of ${number.format(view.list.length)}` : "";
  for (const [button, end] of [[$("viewer-previous"), 0], [$("viewer-next"), view.list.length - 1]]) {
    if (at === end && document.activeElement === button) stage.focus();
    button.disabled = at === end;
  }
  const picture = pictureOf(name);
  $("no-picture").hidden = picture !== undefined;
  box.hidden = picture === undefined;
  $("controls").disabled = picture === undefined;
  view.grey = null;
  canvas.dataset.ready = "";
  tell(name, picture);
  fit();
  if (picture === undefined) return;
  const source = $(`picture-${picture}`);
  const radiograph = new Image();
  radiograph.src = source.getAttribute("href");
  await radiograph.decode();
  if (view.at !== at || view.list[at] !== name) return;
  [view.width, view.height] = [radiograph.naturalWidth, radiograph.naturalHeight];
  [canvas.width, canvas.height] = [view.width, view.height];
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.drawImage(radiograph, 0, 0);
  view.pixels = pen.getImageData(0, 0, view.width, view.height);
  view.grey = Uint8Array.from({ length: view.width * view.height }, (_, n) => view.pixels.data[4 * n]);
  const outline = $("canvas-mask");
  outline.setAttribute("viewBox", `0 0 ${view.width} ${view.height}`);
  outline.replaceChildren(...($(`mask-${picture}`) ? [drawn("use", { href: `#mask-${picture}` })] : []));
  paint();
  fit();
  canvas.dataset.ready = String(picture);
}

function tell(name, picture) {
  const facts = [];
  const fact = (term, value) => { if (value !== "" && value !== null && value !== undefined) facts.push([term, value]); };
  if (typeof name === "number") {
    const size = images.rows[name] * images.columns[name];
    const area = images.area[name];
    fact("Part", images.part[name] === "test" ? "test" : "training");
    fact("Label", images.label[name]);
    if (area !== null) fact("Area", `${number.format(area)} px${size ? ` (${(100 * area / size).toPrecision(2)} %)` : ""}`);
    if (size) fact("Size", `${images.rows[name]} × ${images.columns[name]}`);
    fact("View", images.view[name]);
    fact("Sex", images.sex[name]);
    fact("Age", images.age[name]);
    fact("Encoding", images.encoding[name]);
    fact("File", images.path[name]);
    fact("Cluster", images.cluster[name]);
    fact("Group", images.group[name]);
  }
  if (picture !== undefined) {
    const shown = $(`picture-${picture}`);
    fact("Shown", `${shown.getAttribute("height")} × ${shown.getAttribute("width")}, 8 bits`);
  }
  const links = codesOf(name).map((finding) =>
    make("a", { href: `#finding-${finding.code}`, onclick: leaveFor }, icon(finding.severity), finding.code));
  $("facts").replaceChildren(
    ...facts.flatMap(([term, value]) => [make("dt", {}, term), make("dd", {}, String(value))]),
    make("dt", {}, "Findings"), make("dd", {}, ...(links.length ? links : ["none"])),
  );
}

function leaveFor(event) {
  event.preventDefault();
  const target = event.currentTarget.getAttribute("href");
  viewer.close();
  followFinding(target);
}

function followFinding(target) {
  if (location.hash === target) aim();
  else location.hash = target;
}

/* Window centre and width as in DICOM PS3.3 C.11.2.1.2.1, on grey values 0 to 255. */
function paint() {
  if (!view.grey) return;
  const table = new Uint8ClampedArray(256);
  for (let value = 0; value < 256; value += 1) {
    const seen = ((value - (view.centre - 0.5)) / (view.range - 1) + 0.5) * 255;
    table[value] = view.inverted ? 255 - seen : seen;
  }
  const { data: out } = view.pixels;
  for (let n = 0; n < view.grey.length; n += 1) {
    out[4 * n] = out[4 * n + 1] = out[4 * n + 2] = table[view.grey[n]];
  }
  canvas.getContext("2d").putImageData(view.pixels, 0, 0);
}

function showWindow() {
  for (const [id, value] of [["centre", view.centre], ["width", view.range]]) {
    $(id).value = value;
    $(id).nextElementSibling.value = value;
  }
  $("invert").setAttribute("aria-pressed", String(view.inverted));
  paint();
}

function resetWindow() {
  [view.centre, view.range, view.inverted] = [128, 256, false];
  showWindow();
}

function fitted() {
  return Math.min(stage.clientWidth / view.width, stage.clientHeight / view.height);
}

function place() {
  const scale = fitted() * view.zoom;
  const [wide, high] = [view.width * scale, view.height * scale];
  const within = (at, length, room) => (length <= room ? (room - length) / 2 : Math.min(0, Math.max(room - length, at)));
  view.x = within(view.x, wide, stage.clientWidth);
  view.y = within(view.y, high, stage.clientHeight);
  Object.assign(box.style, { width: `${wide}px`, height: `${high}px`, transform: `translate(${view.x}px, ${view.y}px)` });
  $("zoom").value = `${Math.round(100 * view.zoom)} %`;
}

function fit() {
  view.zoom = 1;
  place();
}

function zoomBy(factor, x = stage.clientWidth / 2, y = stage.clientHeight / 2) {
  const zoom = Math.min(MOST_ZOOM, Math.max(1, view.zoom * factor));
  const grown = zoom / view.zoom;
  view.x = x - (x - view.x) * grown;
  view.y = y - (y - view.y) * grown;
  view.zoom = zoom;
  place();
}

function panBy(x, y) {
  view.x += x;
  view.y += y;
  place();
}

const STEP = 60;
const ARROWS = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

viewer.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typed = event.target.matches('input[type="range"]');
  if (event.key in ARROWS && !typed) {
    const [x, y] = ARROWS[event.key];
    if (view.zoom > 1) panBy(STEP * x, STEP * y);
    else if (x) move(-x);
    else return;
  } else if (event.key === "PageUp" && !typed) move(-1);
  else if (event.key === "PageDown" && !typed) move(1);
  else if (event.key === "+" || event.key === "=") zoomBy(1.25);
  else if (event.key === "-") zoomBy(0.8);
  else if (event.key === "0") fit();
  else return;
  event.preventDefault();
});

stage.addEventListener("wheel", (event) => {
  event.preventDefault();
  const frame = stage.getBoundingClientRect();
  zoomBy(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0016)), event.clientX - frame.left, event.clientY - frame.top);
}, { passive: false });

const fingers = new Map();
stage.addEventListener("pointerdown", (event) => {
  if (event.button) return;
  stage.setPointerCapture(event.pointerId);
  fingers.set(event.pointerId, event);
  stage.classList.add("moving");
});
stage.addEventListener("pointermove", (event) => {
  const before = fingers.get(event.pointerId);
  if (!before) return;
  const other = [...fingers.values()].find((finger) => finger.pointerId !== event.pointerId);
  if (other) {
    const apart = (finger) => Math.hypot(finger.clientX - other.clientX, finger.clientY - other.clientY);
    const frame = stage.getBoundingClientRect();
    zoomBy(apart(event) / Math.max(1, apart(before)), (event.clientX + other.clientX) / 2 - frame.left, (event.clientY + other.clientY) / 2 - frame.top);
  } else panBy(event.clientX - before.clientX, event.clientY - before.clientY);
  fingers.set(event.pointerId, event);
});
for (const end of ["pointerup", "pointercancel"]) {
  stage.addEventListener(end, (event) => {
    fingers.delete(event.pointerId);
    stage.classList.toggle("moving", fingers.size > 0);
  });
}
new ResizeObserver(place).observe(stage);

$("centre").addEventListener("input", (event) => { view.centre = Number(event.target.value); showWindow(); });
$("width").addEventListener("input", (event) => { view.range = Number(event.target.value); showWindow(); });
$("invert").addEventListener("click", () => { view.inverted = !view.inverted; showWindow(); });
$("window-reset").addEventListener("click", resetWindow);
$("zoom-in").addEventListener("click", () => zoomBy(1.25));
$("zoom-out").addEventListener("click", () => zoomBy(0.8));
$("zoom-fit").addEventListener("click", fit);
for (const button of document.querySelectorAll("[data-pan]")) {
  const [x, y] = button.dataset.pan.split(" ").map(Number);
  button.addEventListener("click", () => panBy(STEP * x, STEP * y));
}
$("viewer-previous").addEventListener("click", () => move(-1));
$("viewer-next").addEventListener("click", () => move(1));
$("viewer-close").addEventListener("click", () => viewer.close());
$("viewer-copy").addEventListener("click", (event) => copy(idOf(view.list[view.at]), event.currentTarget));
viewer.addEventListener("click", (event) => { if (event.target === viewer) viewer.close(); });

for (const button of document.querySelectorAll(".radiograph button")) {
  button.disabled = false;
  button.addEventListener("click", () => {
    const group = button.closest("details.look, .radiographs");
    const list = [...new Set([...group.querySelectorAll("button[data-picture]")].map((other) => data.pictures[other.dataset.picture]))];
    openViewer(list, data.pictures[button.dataset.picture]);
  });
}

/* ---------------------------------------------------------------------------------- table */

function startTable() {
  const body = $("table").querySelector("tbody");
  const search = $("search"), part = $("of-part"), label = $("of-label"), code = $("of-finding");
  const heads = [...$("table").querySelectorAll("th[data-key]")];
  const texts = images.id.map((id, row) => [
    id, images.path[row], images.part[row], images.label[row], images.view[row], images.sex[row], images.age[row] ?? "",
    images.encoding[row], images.rows[row] ? `${images.rows[row]} x ${images.columns[row]}` : "", ...codesOf(row).map((finding) => finding.code),
  ].join("\n").toLowerCase());
  /* One to three letters are a view or a sex; within ids and codes they would be anywhere. */
  const short = /^[a-z]{1,3}$/;
  const has = (row, word) =>
    short.test(word) ? [images.view[row], images.sex[row]].some((value) => value.toLowerCase() === word) : texts[row].includes(word);
  const keys = {
    id: (row) => images.id[row],
    part: (row) => images.part[row],
    label: (row) => images.label[row],
    area: (row) => images.area[row],
    size: (row) => images.rows[row] * images.columns[row],
    view: (row) => images.view[row],
    sex: (row) => images.sex[row],
    age: (row) => images.age[row],
    codes: (row) => codesOf(row).length,
  };
  const order = { key: "", down: false };
  let rows = [];

  const options = (select, values) => {
    for (const [value, times] of values) select.append(make("option", { value }, `${value} (${number.format(times)})`));
  };
  const times = (values) => [...values.reduce((sum, value) => sum.set(value, (sum.get(value) || 0) + 1), new Map())];
  options(part, times(images.part));
  options(label, times(images.label));
  options(code, data.findings.filter((finding) => finding.rows.size).map((finding) => [finding.code, finding.rows.size]));

  function tableRow(row) {
    const picture = pictureOf(row);
    const id = images.id[row];
    const line = make("div", {});
    if (picture !== undefined) {
      const radiograph = $(`picture-${picture}`);
      const size = `0 0 ${radiograph.getAttribute("width")} ${radiograph.getAttribute("height")}`;
      line.append(drawn("svg", { class: "mini", viewBox: size, "aria-hidden": "true" }, drawn("use", { href: `#picture-${picture}` })));
    }
    line.append(
      make("button", { type: "button", class: "link uid", onclick: () => openViewer(rows, row) }, make("bdi", {}, id)),
      make("button", { type: "button", class: "copy", "aria-label": `Copy id ${id}`, onclick: (event) => copy(id, event.currentTarget) }, "Copy"),
    );
    const cell = (name, text, kind = "") => make("td", { role: "cell", class: kind, ...(name ? { "data-name": name } : {}) }, ...(text === "" || text === null ? [] : [String(text)]));
    return make("tr", { role: "row" },
      make("td", { role: "cell", class: "image" }, line),
      cell("part", images.part[row]),
      cell("label", images.label[row]),
      cell("area, px", images.area[row] === null ? "" : number.format(images.area[row]), "number"),
      cell("size", images.rows[row] ? `${images.rows[row]} × ${images.columns[row]}` : "", "size"),
      cell("view", images.view[row]),
      cell("sex", images.sex[row]),
      cell("age", images.age[row], "number"),
      make("td", { role: "cell", class: "codes" }, ...codesOf(row).map((finding) => make("a", { href: `#finding-${finding.code}`, onclick: (event) => { event.preventDefault(); followFinding(`#finding-${finding.code}`); } }, finding.code))),
    );
  }

  const turn = pager($("table-pager"), 50, (from, to) => {
    body.replaceChildren(...rows.slice(from, to).map(tableRow));
  });

  function update() {
    const wanted = words(search.value);
    rows = [];
    for (let row = 0; row < count; row += 1) {
      if (part.value && images.part[row] !== part.value) continue;
      if (label.value && images.label[row] !== label.value) continue;
      if (code.value === "none" ? codesOf(row).length : code.value && !codesOf(row).some((finding) => finding.code === code.value)) continue;
      if (wanted.every((word) => has(row, word))) rows.push(row);
    }
    if (order.key) {
      const value = keys[order.key];
      const sign = order.down ? -1 : 1;
      const gone = (one) => one === null || one === "";
      rows = rows.map((row) => [value(row), row]).sort(([a, m], [b, n]) => {
        if (gone(a) || gone(b)) return gone(a) - gone(b) || m - n;
        return sign * (a < b ? -1 : a > b ? 1 : 0) || m - n;
      }).map(([, row]) => row);
    }
    $("table-status").textContent = rows.length === count ? `${number.format(count)} images` : `${number.format(rows.length)} of ${number.format(count)} images`;
    $("table-empty").hidden = rows.length > 0;
    turn(rows.length);
  }

  for (const head of heads) {
    head.firstElementChild.addEventListener("click", () => {
      order.down = order.key === head.dataset.key && !order.down;
      order.key = head.dataset.key;
      for (const other of heads) other.setAttribute("aria-sort", other !== head ? "none" : order.down ? "descending" : "ascending");
      update();
    });
  }
  const form = search.form;
  form.addEventListener("input", update);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(update));
  for (const link of document.querySelectorAll("a[data-code]")) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      form.reset();
      code.value = link.dataset.code;
      update();
      $("images").scrollIntoView();
      code.focus({ preventScroll: true });
    });
  }
  update();
}

if (count) startTable();
for (const part of document.querySelectorAll(".script-only")) part.hidden = false;
for (const part of document.querySelectorAll(".without-script")) part.hidden = true;
if (location.hash) aim();
