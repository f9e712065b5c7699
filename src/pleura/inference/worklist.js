"use strict";
const $ = (id) => document.getElementById(id);
const SVG = document.querySelector("svg").namespaceURI;
const number = new Intl.NumberFormat("en");
const chances = new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 3 });
const { point, thresholds, heat, images, job } = JSON.parse($("data").textContent);
const count = images.id.length;
const everyone = Array.from({ length: count }, (_, row) => row);

/* --------------------------------------------------------------------------- what is decided */

/* Place 0 of the thresholds is the operating point's own, place n is n / 100. */
const set = { score: point.score, place: 0 };
const has = (row) => images.areas[row] !== null;
const assessed = (row) => images.assessed[row];
const answers = (row) => has(row) && assessed(row);
const answered = everyone.filter(answers);
const flagged = (row) => images.flags[row] !== "" && assessed(row);
const isPoint = () => set.score === point.score && set.place === 0;

/* The area of the mask as pleura.inference.prediction.decide leaves it, 0 where it empties it. */
function areaOf(row, score = set.score, place = set.place) {
  const area = images.areas[row][place] || 0;
  return images.score[row] < score || area < point.min_area * images.size[row] ? 0 : area;
}

function callOf(row) {
  if (!assessed(row)) return "not assessed";
  if (!has(row)) return "failed";
  return areaOf(row) > 0 ? "positive" : "negative";
}

const positives = () => answered.reduce((sum, row) => sum + (areaOf(row) > 0), 0);
const positivesAtPoint = positives();

const share = (part) => `${part === 0 ? "0" : part >= 0.1 ? part.toFixed(1) : part.toPrecision(2)} %`;
const areaText = (row, area) => `${number.format(area)} px`;
const shareText = (row, area) => share((100 * area) / images.size[row]);

/* A UID ends in what tells it from others: as many signs of its end as no other id has, 8 at least. */
const isUid = (id) => id.length > 20 && /^[0-9.]+$/.test(id);
const shorts = everyone.map((row) => images.id[row]);
for (let many = 8, open = everyone.filter((row) => isUid(images.id[row])); open.length; many += 2) {
  const found = new Map();
  for (const row of open) found.set(images.id[row].slice(-many), (found.get(images.id[row].slice(-many)) || 0) + 1);
  const alone = (row) => found.get(images.id[row].slice(-many)) === 1 || images.id[row].length <= many;
  for (const row of open) if (alone(row)) shorts[row] = `\u2026${images.id[row].slice(-many)}`;
  open = open.filter((row) => !alone(row));
}

/* What somebody noted stays in this browser, by job and image; without its store, until it closes. */
const STORE = `pleura:${job}`;
const store = { all: {}, kept: true };
try { store.all = JSON.parse(localStorage.getItem(STORE)) || {}; } catch { store.kept = false; }
const own = (row) => store.all[images.name[row]] || {};
const unread = (row) => !own(row).read;
function keep(row, change) {
  const next = { ...own(row), ...change };
  if (next.read || next.remark) store.all[images.name[row]] = next;
  else delete store.all[images.name[row]];
  try { localStorage.setItem(STORE, JSON.stringify(store.all)); } catch { store.kept = false; }
  if (!store.kept) $("kept-where").textContent = "This browser keeps nothing: notes are gone when the page closes.";
}

/* ------------------------------------------------------------------------- data of an image */

/* Each image's data is a script beside the page that calls this with plain values. */
const waiting = new Map();
const kept = new Map();
const thumbs = new Map();
const KEPT = 24, THUMBS = 600;

function remember(map, most, name, value) {
  map.delete(name);
  map.set(name, value);
  if (map.size > most) map.delete(map.keys().next().value);
}

globalThis.pleura = ({ about, pictures }) => {
  remember(kept, KEPT, about.name, pictures);
  remember(thumbs, THUMBS, about.name, pictures.thumb);
};

function load(name) {
  if (kept.has(name)) {
    remember(kept, KEPT, name, kept.get(name));
    return Promise.resolve(kept.get(name));
  }
  if (!waiting.has(name)) {
    waiting.set(name, new Promise((resolve, reject) => {
      const script = document.createElement("script");
      const done = () => {
        script.remove();
        waiting.delete(name);
        if (kept.has(name)) resolve(kept.get(name));
        else reject(new Error(`worklist/${name}.js is missing or damaged: it belongs beside this page.`));
      };
      script.onload = script.onerror = done;
      script.src = `worklist/${name}.js`;
      document.head.append(script);
    }));
  }
  return waiting.get(name);
}

async function unpacked(text, size) {
  const bytes = Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const map = new Uint8Array(await new Response(stream).arrayBuffer());
  for (let n = size; n < map.length; n += 1) map[n] += map[n - size];
  return map;
}

/* ------------------------------------------------------------------------------- the list */

const ROW = 60;
const grid = $("grid"), body = $("rows"), search = $("search");
const order = { key: "score", down: true };
const chosen = { kind: "all" };
let rows = [];
let current = -1;

const texts = everyone.map((row) => `${images.id[row]}\n${images.flags[row]}\n${images.notes[row]}\n${images.error[row]}\n${assessed(row) ? "" : "not assessed"}`.toLowerCase());
const keys = {
  id: (row) => images.id[row],
  call: (row) => ["failed", "not assessed", "negative", "positive"].indexOf(callOf(row)),
  score: (row) => images.score[row],
  area: (row) => (answers(row) ? areaOf(row) : null),
};
const kinds = {
  all: () => true,
  positive: (row) => callOf(row) === "positive",
  negative: (row) => callOf(row) === "negative",
  "not assessed": (row) => !assessed(row),
  flagged,
  failed: (row) => callOf(row) === "failed",
  unread,
};

function sorted(list) {
  const sign = order.down ? -1 : 1;
  return list.map((row) => [keys[order.key](row), row]).sort(([a, m], [b, n]) => {
    if (a === null || b === null) return (a === null) - (b === null) || m - n;
    return sign * (a < b ? -1 : a > b ? 1 : 0) || m - n;
  }).map(([, row]) => row);
}

function refill() {
  const wanted = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  const found = everyone.filter((row) => wanted.every((word) => texts[row].includes(word)));
  for (const button of document.querySelectorAll("[data-kind]")) {
    const { kind } = button.dataset;
    const many = found.filter(kinds[kind]).length;
    button.lastElementChild.textContent = number.format(many);
    button.hidden = ["not assessed", "flagged", "failed"].includes(kind) && !everyone.some(kinds[kind]);
    button.setAttribute("aria-pressed", String(kind === chosen.kind));
  }
  rows = sorted(found.filter(kinds[chosen.kind]));
  body.style.height = `${rows.length * ROW}px`;
  grid.setAttribute("aria-rowcount", rows.length + 1);
  $("nothing").hidden = rows.length > 0;
  shown.clear();
  body.replaceChildren();
  draw();
  told();
}

/* Only the rows in view are in the document. */
const shown = new Map();

function draw() {
  const from = Math.max(0, Math.floor((grid.scrollTop - ROW) / ROW) - 4);
  const to = Math.min(rows.length, Math.ceil((grid.scrollTop + grid.clientHeight) / ROW) + 4);
  for (const [place, line] of shown) {
    if (place < from || place >= to) {
      line.remove();
      shown.delete(place);
    }
  }
  for (let place = from; place < to; place += 1) {
    if (!shown.has(place)) {
      shown.set(place, lineOf(place));
      body.append(shown.get(place));
    }
  }
  mark();
  clearTimeout(draw.later);
  draw.later = setTimeout(fetchThumbs, 80);
}

function make(tag, kind, ...children) {
  const element = document.createElement(tag);
  if (kind) element.className = kind;
  element.append(...children);
  return element;
}

function flagIcon() {
  const icon = document.createElementNS(SVG, "svg");
  icon.setAttribute("class", "icon");
  icon.setAttribute("aria-hidden", "true");
  icon.append(document.createElementNS(SVG, "use"));
  icon.firstChild.setAttribute("href", "#icon-flag");
  return icon;
}

function cell(kind, ...children) {
  const element = make("span", kind, ...children);
  element.setAttribute("role", "gridcell");
  return element;
}

function lineOf(place) {
  const row = rows[place];
  const call = callOf(row);
  const line = make("div", `line ${call.replace(" ", "-")}${unread(row) ? "" : " read"}`);
  line.setAttribute("role", "row");
  line.setAttribute("aria-rowindex", place + 2);
  line.id = `row-${row}`;
  line.dataset.row = row;
  line.style.transform = `translateY(${place * ROW}px)`;
  const radiograph = cell("radiograph");
  if (has(row)) radiograph.append(thumbOf(images.name[row]));
  const id = cell("id", make("span", "uid", make("bdi", "", shorts[row])));
  if (images.error[row]) id.append(make("span", "note error", images.error[row]));
  if (!assessed(row)) id.append(make("span", "note flag narrow", flagIcon(), make("span", "", call)));
  else if (flagged(row)) id.append(make("span", "note flag", flagIcon(), make("span", "", images.flags[row])));
  id.title = [images.id[row], images.error[row], images.flags[row], images.notes[row]].filter(Boolean).join("\n");
  const score = images.score[row];
  const area = answers(row) ? areaOf(row) : 0;
  const bar = make("i", "meter");
  bar.style.setProperty("--at", `${100 * (score || 0)}%`);
  line.append(radiograph, id, cell("call", make("span", "chip", call)));
  if (!assessed(row)) {
    const why = cell("why", make("span", "", images.flags[row]));
    why.setAttribute("aria-colspan", "2");
    line.append(why);
    return line;
  }
  line.append(
    score === null ? cell("score") : cell("score", score.toFixed(3), bar),
    area ? cell("area", areaText(row, area), make("small", "", shareText(row, area))) : cell("area", has(row) ? "–" : ""),
  );
  return line;
}

function mark() {
  for (const [place, line] of shown) line.setAttribute("aria-selected", String(rows[place] === current));
  const line = shown.get(rows.indexOf(current));
  if (line) grid.setAttribute("aria-activedescendant", line.id);
  else grid.removeAttribute("aria-activedescendant");
}

function thumbOf(name) {
  const box = make("i", "thumb");
  box.dataset.name = name;
  if (thumbs.has(name)) hang(box);
  return box;
}

function hang(box) {
  const picture = new Image();
  picture.alt = "";
  picture.src = thumbs.get(box.dataset.name);
  box.append(picture);
}

async function fetchThumbs() {
  for (const box of body.querySelectorAll(".thumb:empty")) {
    if (!box.isConnected) continue;
    await load(box.dataset.name).catch(() => {});
    if (thumbs.has(box.dataset.name) && !box.firstChild) hang(box);
  }
}

function reveal(place) {
  const top = place * ROW, head = grid.firstElementChild.offsetHeight;
  const room = grid.clientHeight - head;
  if (top < grid.scrollTop) grid.scrollTop = top;
  else if (top + ROW > grid.scrollTop + room) grid.scrollTop = top + ROW - room;
}

function move(to) {
  if (!rows.length) return;
  const place = Math.min(rows.length - 1, Math.max(0, to));
  reveal(place);
  draw();
  select(rows[place]);
}

const at = () => rows.indexOf(current);

/* -------------------------------------------------------------------------------- reading */

const radiograph = $("radiograph"), over = $("over");
const WINDOW = { centre: 128, width: 256, inverted: false };
const view = { data: null, grey: null, pixels: null, chance: null, map: null, zoom: 1, ...WINDOW };
const opacity = { mask: 24, heat: Number($("opacity").dataset.heat), none: 0 };
const overlay = () => document.querySelector("input[name=over]:checked").value;

function select(row) {
  const changed = row !== current;
  current = row;
  mark();
  told();
  if (changed) open(row);
}

async function open(row) {
  Object.assign(view, { data: null, map: null, chance: null });
  radiograph.dataset.ready = "";
  $("picture").hidden = true;
  $("zoom").hidden = true;
  $("legend").hidden = true;
  $("message").hidden = true;
  try {
    if (!has(row)) throw new Error(images.error[row]);
    const data = await load(images.name[row]);
    const picture = new Image();
    picture.src = data.radiograph;
    const [map] = await Promise.all([data.map && unpacked(data.map, data.size), picture.decode()]);
    if (row !== current) return;
    take(row, data, map, picture);
  } catch (error) {
    if (row !== current) return;
    $("message").textContent = error.message;
    $("message").hidden = false;
    radiograph.dataset.ready = "failed";
    return;
  }
  for (const near of [rows[at() + 1], rows[at() - 1]]) {
    if (near !== undefined && has(near)) load(images.name[near]).catch(() => {});
  }
}

function take(row, data, map, picture) {
  const [width, height] = [picture.naturalWidth, picture.naturalHeight];
  for (const canvas of [radiograph, over]) [canvas.width, canvas.height] = [width, height];
  const pen = radiograph.getContext("2d", { willReadFrequently: true });
  pen.drawImage(picture, 0, 0);
  view.pixels = pen.getImageData(0, 0, width, height);
  view.grey = Uint8Array.from({ length: width * height }, (_, n) => view.pixels.data[4 * n]);
  Object.assign(view, { data, map, chance: map && spread(map, data, width, height) });
  $("overlay").disabled = !map; // there is nothing to lay over an image that is not assessed
  const side = Math.max(data.rows, data.columns), scale = data.size / side;
  const left = Math.floor((side - data.columns) / 2) * scale, top = Math.floor((side - data.rows) / 2) * scale;
  $("outline").setAttribute("viewBox", `${left} ${top} ${data.columns * scale} ${data.rows * scale}`);
  $("picture").style.aspectRatio = `${width} / ${height}`;
  $("picture").style.setProperty("--ratio", width / height);
  $("picture").hidden = false;
  $("zoom").hidden = false;
  zoomTo(1);
  paintRadiograph();
  paintOver();
  told();
  radiograph.dataset.ready = String(row);
}

/* The point of the radiograph at (x, y) of the stage stays where it is. */
const stage = $("stage");
function zoomTo(zoom, x = stage.clientWidth / 2, y = stage.clientHeight / 2) {
  const before = $("picture").getBoundingClientRect(), frame = stage.getBoundingClientRect();
  view.zoom = Math.min(8, Math.max(1, zoom));
  $("picture").style.setProperty("--zoom", view.zoom);
  $("zoom-fit").textContent = `${Math.round(100 * view.zoom)} %`;
  const after = $("picture").getBoundingClientRect();
  const grown = after.width / before.width || 1;
  stage.scrollLeft += after.left - frame.left - x + (x + frame.left - before.left) * grown;
  stage.scrollTop += after.top - frame.top - y + (y + frame.top - before.top) * grown;
}

/* The map over the radiograph's pixels on the page, 0 to 255: linear, as pleura.data.prepare.restore. */
function spread(map, data, width, height) {
  const side = Math.max(data.rows, data.columns), { size } = data;
  const axis = (length, own) => {
    const gap = Math.floor((side - own) / 2);
    return Array.from({ length }, (_, n) => {
      const place = (((n + 0.5) * own) / length + gap) * (size / side) - 0.5;
      const inside = Math.min(size - 1, Math.max(0, place));
      const first = Math.min(size - 2, Math.floor(inside));
      return [first, inside - first];
    });
  };
  const columns = axis(width, data.columns), lines = axis(height, data.rows);
  const out = new Float32Array(width * height);
  for (let y = 0; y < height; y += 1) {
    const [line, v] = lines[y];
    for (let x = 0; x < width; x += 1) {
      const [column, u] = columns[x];
      const n = line * size + column;
      const above = map[n] + u * (map[n + 1] - map[n]);
      const below = map[n + size] + u * (map[n + size + 1] - map[n + size]);
      out[y * width + x] = above + v * (below - above);
    }
  }
  return out;
}

/* Window centre and width as in DICOM PS3.3 C.11.2.1.2.1, on grey values 0 to 255. */
function paintRadiograph() {
  for (const [id, value] of [["centre", view.centre], ["width", view.width]]) {
    $(id).value = value;
    told.output(id, String(value));
  }
  $("invert").setAttribute("aria-pressed", String(view.inverted));
  if (!view.data) return;
  const table = new Uint8ClampedArray(256);
  for (let value = 0; value < 256; value += 1) {
    const seen = ((value - (view.centre - 0.5)) / (view.width - 1) + 0.5) * 255;
    table[value] = view.inverted ? 255 - seen : seen;
  }
  const { data: out } = view.pixels;
  for (let n = 0; n < view.grey.length; n += 1) out[4 * n] = out[4 * n + 1] = out[4 * n + 2] = table[view.grey[n]];
  radiograph.getContext("2d").putImageData(view.pixels, 0, 0);
}

/* Colours as the canvas keeps them: four bytes a pixel. */
const palette = new Uint32Array(Uint8ClampedArray.from(heat.flat()).buffer);
const [amber] = new Uint32Array(Uint8ClampedArray.of(255, 153, 28, 255).buffer);

function paintOver() {
  const kind = overlay();
  $("opacity").value = opacity[kind];
  $("opacity").disabled = kind === "none";
  told.output("opacity", kind === "none" ? "" : `${opacity[kind]} %`);
  over.style.opacity = opacity[kind] / 100;
  over.hidden = kind === "none";
  $("legend").hidden = kind !== "heat" || !view.map;
  if (!view.data) return;
  const level = 255 * thresholds[set.place];
  const called = areaOf(current) > 0;
  const pen = over.getContext("2d");
  const picture = pen.createImageData(over.width, over.height);
  const out = new Uint32Array(picture.data.buffer);
  const { chance } = view;
  if (kind === "heat" && chance) for (let n = 0; n < chance.length; n += 1) out[n] = palette[Math.round(chance[n])];
  if (kind === "mask" && called) for (let n = 0; n < chance.length; n += 1) if (chance[n] > level) out[n] = amber;
  pen.putImageData(picture, 0, 0);
  const line = called && $("outlined").checked ? outlineOf(view.map, view.data.size, level) : "";
  for (const path of $("outline").children) path.setAttribute("d", line);
  const call = callOf(current);
  $("picture").setAttribute("aria-label", `Radiograph ${images.id[current]}, ${assessed(current) ? "called " : ""}${call}${called ? `, mask of ${areaText(current, areaOf(current))}` : ""}`);
}

/* Marching squares: where the map, linear between its pixels, crosses the level. */
function outlineOf(map, size, level) {
  const value = (x, y) => (x < 0 || y < 0 || x >= size || y >= size ? 0 : map[y * size + x]);
  const parts = [];
  for (let y = -1; y < size; y += 1) {
    for (let x = -1, b = value(-1, y), c = value(-1, y + 1); x < size; x += 1) {
      const a = b, d = c; // the corners go round: a above left, b above right, c and d below
      b = value(x + 1, y);
      c = value(x + 1, y + 1);
      const sum = (a > level) + (b > level) + (c > level) + (d > level);
      if (sum === 0 || sum === 4) continue;
      const corners = [a, b, c, d];
      const inside = corners.map((corner) => corner > level);
      const between = (a, b) => (level - corners[a]) / (corners[b] - corners[a]);
      const ends = [];
      if (inside[0] !== inside[1]) ends.push([x + between(0, 1), y]);
      if (inside[1] !== inside[2]) ends.push([x + 1, y + between(1, 2)]);
      if (inside[3] !== inside[2]) ends.push([x + between(3, 2), y + 1]);
      if (inside[0] !== inside[3]) ends.push([x, y + between(0, 3)]);
      /* Opposite corners: joined through the middle where that is inside. */
      const middle = (corners[0] + corners[1] + corners[2] + corners[3]) / 4 > level;
      const pairs = ends.length === 2 ? [[0, 1]] : middle === inside[0] ? [[0, 1], [2, 3]] : [[0, 3], [1, 2]];
      for (const [a, b] of pairs) {
        parts.push(`M${(ends[a][0] + 0.5).toFixed(2)} ${(ends[a][1] + 0.5).toFixed(2)}L${(ends[b][0] + 0.5).toFixed(2)} ${(ends[b][1] + 0.5).toFixed(2)}`);
      }
    }
  }
  return parts.join("");
}

/* ------------------------------------------------------------------------------- in words */

function told() {
  $("current").firstElementChild.textContent = current < 0 ? "" : images.id[current];
  $("current").title = current < 0 ? "" : images.id[current];
  const place = at();
  $("place").textContent = place < 0 ? `${number.format(rows.length)} images` : `${number.format(place + 1)} of ${number.format(rows.length)}`;
  $("previous").disabled = place <= 0;
  $("next").disabled = place === rows.length - 1;

  told.output("by-score", set.score.toFixed(3));
  told.output("by-mask", chances.format(thresholds[set.place]));
  $("by-score").value = set.score;
  $("by-mask").value = thresholds[set.place];
  const many = positives();
  const than = many - positivesAtPoint;
  $("counts").firstElementChild.textContent = `${number.format(many)} of ${number.format(answered.length)} called positive`;
  const compared = than ? `${number.format(Math.abs(than))} ${than > 0 ? "more" : "fewer"} than` : "as many as";
  $("counts").lastElementChild.textContent = `${isPoint() ? "" : `${compared} `}at the operating point`;
  $("reset").disabled = isPoint();
  for (const bar of $("scores").children) bar.classList.toggle("over", Number(bar.dataset.from) >= set.score);

  const call = current < 0 ? "" : callOf(current);
  $("answer").className = call.replace(" ", "-");
  $("answer").firstElementChild.textContent = { "": "", failed: "No answer", "not assessed": "Not assessed" }[call] ?? `Called ${call}`;
  $("answer").lastElementChild.textContent = call && answers(current) ? `score ${images.score[current].toFixed(3)}` : "";
  $("measured").textContent = measured(call);
  const flags = current < 0 || !flagged(current) ? "" : images.flags[current];
  const facts = view.data ? [["Side", sideOf()], ...Object.entries(view.data.facts)] : [];
  if (flags) facts.unshift(["Flagged, answered all the same", flags]);
  $("about").replaceChildren(...facts.filter(([, value]) => value).flatMap(([name, value]) => [make("dt", "", name), make("dd", "", value)]));
  const mine = current < 0 ? {} : own(current);
  $("own").disabled = current < 0;
  $("read").checked = Boolean(mine.read);
  if (document.activeElement !== $("remark")) $("remark").value = mine.remark || "";
  const notes = current < 0 ? "" : images.notes[current];
  $("notes").hidden = !notes;
  $("notes").lastElementChild.textContent = notes;
}

/* The patient's left lies on the right of a frontal radiograph. */
function sideOf() {
  if (!view.data || !view.chance || callOf(current) !== "positive") return "";
  const level = 255 * thresholds[set.place], width = over.width;
  const sides = [0, 0];
  view.chance.forEach((chance, n) => { if (chance > level) sides[Number(n % width >= width / 2)] += 1; });
  const [right, left] = sides, all = right + left;
  if (!all) return "";
  return Math.min(right, left) > 0.2 * all ? "both" : left > right ? "left" : "right";
}

told.output = (id, text) => { $(id).parentElement.querySelector("output").value = text; };

function measured(call) {
  if (!call || call === "failed") return "";
  if (call === "not assessed") return `Why: ${images.flags[current]}`;
  const area = areaOf(current);
  if (area) return `Mask ${areaText(current, area)}, ${shareText(current, area)} of the radiograph`;
  if (images.score[current] < set.score) return "The score is below its threshold";
  return images.areas[current][set.place] ? "The mask is below the smallest area" : "No pixel is above the threshold";
}

function drawScores() {
  const bins = 50;
  const tall = new Array(bins).fill(0);
  for (const row of answered) tall[Math.min(bins - 1, Math.floor(images.score[row] * bins))] += 1;
  const most = Math.sqrt(Math.max(1, ...tall));
  for (let bin = 0; bin < bins; bin += 1) {
    const bar = document.createElementNS(SVG, "rect");
    const height = tall[bin] ? Math.max(1.5, (23 * Math.sqrt(tall[bin])) / most) : 0;
    for (const [name, value] of Object.entries({ x: (100 * bin) / bins + 0.2, width: 100 / bins - 0.4, y: 24 - height, height })) bar.setAttribute(name, value);
    bar.dataset.from = bin / bins;
    $("scores").append(bar);
  }
}

/* ---------------------------------------------------------------------------------- hands */

function decided() {
  refill();
  if (view.data) paintOver();
}

/* A drag sends more changes than a screen shows: one in each picture of it is enough. */
function soon(work) {
  let asked = 0;
  return () => {
    if (!asked) asked = requestAnimationFrame(() => { asked = 0; work(); });
  };
}
const decidedSoon = soon(decided), paintRadiographSoon = soon(paintRadiograph), drawSoon = soon(draw);

$("by-score").addEventListener("input", (event) => { set.score = Number(event.target.value); decidedSoon(); });
$("by-mask").addEventListener("input", (event) => { set.place = Math.round(100 * Number(event.target.value)); decidedSoon(); });
$("reset").addEventListener("click", () => {
  Object.assign(set, { score: point.score, place: 0 });
  decided();
  $("by-score").focus();
});

for (const choice of document.querySelectorAll("input[name=over]")) choice.addEventListener("change", paintOver);
$("outlined").addEventListener("change", paintOver);
$("opacity").addEventListener("input", (event) => {
  const kind = overlay();
  opacity[kind] = Number(event.target.value);
  told.output("opacity", `${opacity[kind]} %`);
  over.style.opacity = opacity[kind] / 100;
});

for (const id of ["centre", "width"]) {
  $(id).addEventListener("input", (event) => { view[id] = Number(event.target.value); paintRadiographSoon(); });
}
$("invert").addEventListener("click", () => { view.inverted = !view.inverted; paintRadiograph(); });
function resetWindow() {
  Object.assign(view, WINDOW);
  paintRadiograph();
}
$("window-reset").addEventListener("click", resetWindow);

const picture = $("picture");
let drag = null;
picture.addEventListener("pointerdown", (event) => {
  if (event.button) return;
  picture.setPointerCapture(event.pointerId);
  drag = { x: event.clientX, y: event.clientY, centre: view.centre, width: view.width, pans: event.shiftKey, left: stage.scrollLeft, top: stage.scrollTop };
});
picture.addEventListener("pointermove", (event) => {
  if (!drag) return;
  if (drag.pans) {
    stage.scrollTo({ left: drag.left - event.clientX + drag.x, top: drag.top - event.clientY + drag.y, behavior: "instant" });
    return;
  }
  const within = (value, input) => Math.round(Math.min(input.max, Math.max(input.min, value)));
  view.width = within(drag.width + event.clientX - drag.x, $("width"));
  view.centre = within(drag.centre + (event.clientY - drag.y) / 2, $("centre"));
  paintRadiographSoon();
});
for (const end of ["pointerup", "pointercancel"]) picture.addEventListener(end, () => { drag = null; });
picture.addEventListener("dblclick", resetWindow);
stage.addEventListener("wheel", (event) => {
  if (!event.ctrlKey) return; // a plain wheel scrolls
  event.preventDefault();
  const frame = stage.getBoundingClientRect();
  zoomTo(view.zoom * Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.004)), event.clientX - frame.left, event.clientY - frame.top);
}, { passive: false });
$("zoom-in").addEventListener("click", () => zoomTo(1.25 * view.zoom));
$("zoom-out").addEventListener("click", () => zoomTo(view.zoom / 1.25));
$("zoom-fit").addEventListener("click", () => zoomTo(1));

grid.addEventListener("scroll", drawSoon, { passive: true });
new ResizeObserver(drawSoon).observe(grid);
body.addEventListener("click", (event) => {
  const line = event.target.closest(".line");
  if (!line) return;
  select(Number(line.dataset.row));
  if (narrow.matches) document.querySelector(".reading").scrollIntoView({ block: "start" });
});
const narrow = matchMedia("(max-width: 819px)");

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea")) return;
  if (event.target === stage && view.zoom > 1) return; // there the radiograph scrolls
  if (narrow.matches && !grid.contains(event.target)) return; // there the page itself scrolls
  const page = Math.max(1, Math.floor(grid.clientHeight / ROW) - 2);
  const to = { ArrowDown: at() + 1, ArrowUp: at() - 1, PageDown: at() + page, PageUp: at() - page, Home: 0, End: rows.length - 1 }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  move(to);
});
$("previous").addEventListener("click", () => move(at() - 1));
$("next").addEventListener("click", () => move(at() + 1));

$("read").addEventListener("change", (event) => { keep(current, { read: event.target.checked }); refill(); });
$("remark").addEventListener("input", (event) => { keep(current, { remark: event.target.value }); });

const theme = { of: () => document.documentElement.dataset.theme || "dark" };
theme.set = (name) => {
  document.documentElement.dataset.theme = name;
  $("theme").setAttribute("aria-pressed", String(name === "light"));
};
try { theme.set(localStorage.getItem("pleura:theme") || "dark"); } catch { theme.set("dark"); }
$("theme").addEventListener("click", () => {
  theme.set(theme.of() === "light" ? "dark" : "light");
  try { localStorage.setItem("pleura:theme", theme.of()); } catch { /* it is light until it closes */ }
});

search.addEventListener("input", refill);
search.form.addEventListener("submit", (event) => event.preventDefault());
for (const button of document.querySelectorAll("[data-kind]")) {
  button.addEventListener("click", () => {
    chosen.kind = button.dataset.kind;
    grid.scrollTop = 0;
    refill();
  });
}
const heads = [...document.querySelectorAll("[data-key]")];
for (const head of heads) {
  head.firstElementChild.addEventListener("click", () => {
    const { key } = head.dataset;
    order.down = order.key === key ? !order.down : key !== "id";
    order.key = key;
    for (const other of heads) other.setAttribute("aria-sort", other !== head ? "none" : order.down ? "descending" : "ascending");
    grid.scrollTop = 0;
    refill();
  });
}

const bar = document.querySelector("#legend canvas").getContext("2d");
heat.forEach(([r, g, b], level) => { bar.fillStyle = `rgb(${r} ${g} ${b})`; bar.fillRect(level, 0, 1, 1); });
document.querySelector("main").hidden = false;
document.querySelector(".without").hidden = true;
drawScores();
refill();
paintRadiograph();
paintOver();
if (rows.length) select(rows[0]);
