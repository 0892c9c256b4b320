// The page works without this file; it makes searches faster, and adds drawing, explanations, the map and changes.
"use strict";

const find = (selector, root = document) => root.querySelector(selector);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const FRAGMENT = { "X-Pairlens-Fragment": "1" };
const UNDO_SECONDS = 8;
const photoDialog = find("#photo");

function showScriptParts(root = document) {
  for (const part of all(".needs-script", root)) part.hidden = false;
  for (const part of all(".without-script", root)) part.hidden = true;
}

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

// Notices -----------------------------------------------------------------------------------------------------------

function notice(words, { button, action, seconds = 8 } = {}) {
  const box = element("div", { className: "notice" }, element("p", { textContent: words }));
  const remove = () => box.remove();
  if (button) box.append(element("button", { type: "button", textContent: button, onclick: () => { remove(); action(); } }));
  // A modal dialog hides everything outside it from a screen reader, so its notices are inside.
  (photoDialog.open ? noticesInDialog() : find("#notices")).append(box);
  if (seconds) setTimeout(remove, seconds * 1000);
  return { box, remove };
}

function noticesInDialog() {
  return find(".notices", photoDialog) ?? photoDialog.appendChild(element("div", { className: "notices", role: "status" }));
}

async function sentenceOf(response) {
  try { return (await response.json()).detail; } catch { return `the server answered ${response.status}`; }
}

async function request(address, options) {
  let response;
  try {
    response = await fetch(address, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer; is it still running?");
  }
  if (response.status === 401) location.assign("/login");
  if (!response.ok) throw new Error(await sentenceOf(response));
  return response;
}

// Searching ---------------------------------------------------------------------------------------------------------

let underWay = null;
let dropped = null; // the photo that was searched with last, so that it is shown before the server has it

function parsed(html) {
  return new DOMParser().parseFromString(html, "text/html");
}

function show(html, address, { push = true, filters = false } = {}) {
  const fresh = find("#view", parsed(html));
  const view = find("#view");
  if (!fresh || !view) { location.assign(address); return; }
  const query = find("#query"), freshQuery = find("#query", fresh);
  const samePhoto = query.dataset.key === freshQuery.dataset.key && freshQuery.classList.contains("asked");
  if (samePhoto) {
    // The photo stays as it is, with what was drawn on it, and so does the place of the keyboard.
    const place = document.activeElement?.closest?.(".ask") ? document.activeElement.id : "";
    find(".ask", query).replaceWith(find(".ask", freshQuery));
    if (place) document.getElementById(place)?.focus({ preventScroll: true });
  } else {
    const photo = find("#query-photo", freshQuery);
    if (photo && dropped && photo.src.endsWith(dropped.digest)) photo.src = dropped.url;
    query.replaceWith(freshQuery);
  }
  const oldFilters = find("#filters");
  const freshFilters = find("#filters", fresh);
  freshFilters.open = oldFilters.open;
  const scrolled = all(".choices", oldFilters).map(box => box.scrollTop);
  const focused = document.activeElement?.closest?.("#filters input")?.value;
  oldFilters.replaceWith(freshFilters);
  all(".choices", freshFilters).forEach((box, n) => { box.scrollTop = scrolled[n] ?? 0; });
  if (focused) all("#filters input").find(input => input.value === focused)?.focus({ preventScroll: true });
  find("#results").replaceWith(find("#results", fresh));
  view.dataset.address = fresh.dataset.address;
  if (push) history.pushState(null, "", address);
  showScriptParts();
  drawRegion();
  watchRegion();
}

async function go(address, options = {}) {
  if (!find("#view")) { location.assign(address); return; }
  await asked(address, { headers: FRAGMENT }, options);
}

async function asked(address, fetchOptions, options = {}) {
  underWay?.abort();
  const mine = underWay = new AbortController();
  const slow = setTimeout(() => find("#view")?.classList.add("busy"), 250);
  try {
    const response = await request(address, { ...fetchOptions, signal: mine.signal });
    const final = response.headers.get("X-Pairlens-Address") ?? address;
    const digest = new URLSearchParams(final.split("?")[1]).get("photo");
    if (dropped && options.isUpload) dropped.digest = digest;
    show(await response.text(), final, options);
  } catch (error) {
    if (error.name !== "AbortError") notice(error.message);
  } finally {
    clearTimeout(slow);
    if (underWay === mine) find("#view")?.classList.remove("busy");
  }
}

function searchWith(file) {
  if (!file) return;
  if (!find("#view")) { sessionUpload(file); return; }
  if (photoDialog.open) photoDialog.close();
  if (dropped) URL.revokeObjectURL(dropped.url);
  dropped = { url: URL.createObjectURL(file), digest: null };
  const form = new FormData();
  for (const input of all("#ask input[type=hidden]")) form.append(input.name, input.value);
  form.append("photo", file, file.name || "photo");
  asked("/", { method: "POST", body: form, headers: FRAGMENT }, { isUpload: true });
}

// From the map and the pages of single photos, as a browser without a script would.
async function sessionUpload(file) {
  const form = new FormData();
  form.append("photo", file, file.name || "photo");
  try {
    const response = await request("/", { method: "POST", body: form, headers: FRAGMENT });
    location.assign(response.headers.get("X-Pairlens-Address") ?? "/");
  } catch (error) { notice(error.message); }
}

document.addEventListener("change", event => {
  const input = event.target;
  if (input.closest("#ask") && input.type === "file") searchWith(input.files[0]);
  if (input.id === "add") { addPhotos([...input.files]); input.value = ""; }
  if (input.closest("#filter-form") && input.type !== "search") filter();
  if (input.classList.contains("show-why")) showMaps(input.checked);
});

function filter() {
  const fields = new URLSearchParams();
  for (const [name, value] of new FormData(find("#filter-form"))) if (value !== "") fields.append(name, value);
  go(`/?${fields}`);
}

document.addEventListener("submit", event => {
  // Not by `id`, which is the field of that name in a form that has one.
  if (event.target.matches("#filter-form")) { event.preventDefault(); filter(); }
  if (event.target.matches("#part-form")) { event.preventDefault(); searchPart(event.target); }
  if (event.target.closest(".edit")) { event.preventDefault(); relabel(event.target); }
});

document.addEventListener("input", event => {
  if (event.target.closest("#part-form")) showPart(event.target.form);
  if (!event.target.classList.contains("narrow")) return;
  const wanted = event.target.value.trim().toLowerCase();
  for (const label of all("label", event.target.parentElement)) label.hidden = !label.textContent.toLowerCase().includes(wanted);
});

document.addEventListener("click", event => {
  const link = event.target.closest("a");
  if (!link || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  if (link.dataset.photo) { event.preventDefault(); openPhoto(link.getAttribute("href"), link); return; }
  if ("go" in link.dataset && find("#view")) {
    event.preventDefault();
    if (photoDialog.open) photoDialog.close();
    if (link.id === "whole") forgetRegion();
    go(link.getAttribute("href"));
    scrollTo({ top: 0 });
  }
});

addEventListener("popstate", () => { if (find("#view")) go(location.pathname + location.search, { push: false }); });

// Dropping and pasting ----------------------------------------------------------------------------------------------

const drop = find("#drop");
let dragDepth = 0;
const hasFiles = event => [...(event.dataTransfer?.types ?? [])].includes("Files");
addEventListener("dragenter", event => { if (hasFiles(event)) { dragDepth += 1; drop.hidden = false; } });
addEventListener("dragleave", event => { if (hasFiles(event)) { dragDepth -= 1; drop.hidden = dragDepth > 0 ? false : true; } });
addEventListener("dragover", event => { if (hasFiles(event)) event.preventDefault(); });
addEventListener("drop", event => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  dragDepth = 0;
  drop.hidden = true;
  const files = [...event.dataTransfer.files];
  const canAdd = document.body.dataset.readOnly === "0";
  if (files.length === 1 || !canAdd) searchWith(files[0]);
  else notice(`Add these ${files.length} photos to the collection?`, { button: "Add", action: () => addPhotos(files), seconds: 30 });
});
addEventListener("paste", event => {
  const file = [...(event.clipboardData?.files ?? [])].find(one => one.type.startsWith("image/"));
  if (file) { event.preventDefault(); searchWith(file); }
});

// A region of the photo that is searched for ------------------------------------------------------------------------

let region = null; // in pixels of the photo

function queryStage() {
  const photo = find("#query-photo");
  return photo ? { photo, stage: photo.closest(".stage") } : null;
}

// How large the photo is, which the server may have reduced for the window; and where in the stage it is shown.
async function placeOf(photo) {
  await photo.decode().catch(() => {});
  const scale = (Number(photo.dataset.width) || photo.naturalWidth) / photo.naturalWidth;
  const shown = Math.min(photo.clientWidth / photo.naturalWidth, photo.clientHeight / photo.naturalHeight);
  const width = photo.naturalWidth * shown, height = photo.naturalHeight * shown;
  return { left: (photo.clientWidth - width) / 2, top: (photo.clientHeight - height) / 2, width, height, pixels: scale / shown };
}

function forgetRegion() { region = null; find(".region")?.remove(); }

async function drawRegion() {
  const found = queryStage();
  const address = new URLSearchParams((find("#view")?.dataset.address ?? "").split("?")[1]);
  const text = address.get("region");
  if (!found || !text) { forgetRegion(); return; }
  region = text.split(",").map(Number);
  const place = await placeOf(found.photo);
  placeBox(found.stage, place, region.map(value => value / place.pixels));
}

function placeBox(stage, place, [x, y, width, height]) {
  const box = find(".region", stage) ?? stage.appendChild(element("div", { className: "region" }));
  Object.assign(box.style, { left: `${place.left + x}px`, top: `${place.top + y}px`, width: `${width}px`, height: `${height}px` });
}

// The part of the photo by numbers, for those who cannot draw.
const partOf = form => all("[name=region]", form).map(input => input.value);

function searchPart(form) {
  const fields = new URLSearchParams(new FormData(form));
  fields.set("region", partOf(form).join(","));
  go(`/?${fields}`);
}

async function showPart(form) {
  const found = queryStage();
  if (!found || !form.checkValidity()) return;
  const place = await placeOf(found.photo);
  placeBox(found.stage, place, partOf(form).map(value => Number(value) / place.pixels));
}

function watchRegion() {
  const found = queryStage();
  if (!found || !found.stage.closest(".drawable") || found.stage.dataset.watched) return;
  found.stage.dataset.watched = "1";
  let start = null, place = null;
  const at = event => {
    const box = found.photo.getBoundingClientRect();
    return [Math.max(0, Math.min(place.width, event.clientX - box.left - place.left)),
            Math.max(0, Math.min(place.height, event.clientY - box.top - place.top))];
  };
  const boxOf = (a, b) => [Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.abs(a[0] - b[0]), Math.abs(a[1] - b[1])];
  found.stage.addEventListener("pointerdown", async event => {
    if (event.button) return;
    event.preventDefault();
    found.stage.setPointerCapture(event.pointerId);
    place = await placeOf(found.photo);
    start = at(event);
  });
  found.stage.addEventListener("pointermove", event => {
    if (start) placeBox(found.stage, place, boxOf(start, at(event)));
  });
  found.stage.addEventListener("pointercancel", () => { start = null; drawRegion(); });
  found.stage.addEventListener("pointerup", event => {
    if (!start) return;
    const box = boxOf(start, at(event));
    start = null;
    if (box[2] < 8 || box[3] < 8) { drawRegion(); return; }
    region = box.map(value => Math.max(0, Math.round(value * place.pixels)));
    const address = new URL(find("#view").dataset.address, location.origin);
    address.searchParams.set("region", region.join(","));
    go(address.pathname + address.search);
  });
}

// One photo ---------------------------------------------------------------------------------------------------------

let opener = null;

async function openPhoto(address, from) {
  try {
    const response = await request(address, { headers: FRAGMENT });
    const detail = find(".detail", parsed(await response.text()));
    photoDialog.replaceChildren(detail);
    showScriptParts(photoDialog);
    if (!photoDialog.open) { opener = from; photoDialog.showModal(); }
    photoDialog.scrollTop = 0;
    explain(detail);
  } catch (error) { notice(error.message); }
}

photoDialog.addEventListener("close", () => { opener?.isConnected && opener.focus({ preventScroll: true }); photoDialog.replaceChildren(); });
photoDialog.addEventListener("click", event => { if (event.target === photoDialog) photoDialog.close(); });

async function explain(detail) {
  if (detail.dataset.compare !== "1") return;
  const words = find(".why-words", detail);
  const body = { match: Number(detail.dataset.id) };
  if (detail.dataset.photo) body.photo = detail.dataset.photo; else body.id = Number(detail.dataset.query);
  if (detail.dataset.region) body.region = detail.dataset.region.split(",").map(Number);
  try {
    const response = await request("/api/explanation", {
      method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" } });
    const grid = await response.json();
    await drawMaps(detail, grid, body.region);
    words.textContent = grid.is_exact
      ? `Exact: the places of each photo add up to the score ${grid.score.toFixed(3)}.`
      : `The places that matter most for the score ${grid.score.toFixed(3)}, by gradient × input.`;
    find(".legend", detail).hidden = false;
  } catch (error) { words.textContent = `${error.message}.`; }
}

function showMaps(visible) { for (const canvas of all(".map")) canvas.hidden = !visible; }

async function drawMaps(detail, grid, drawn) {
  const largest = Math.max(...grid.maps.flat(2).map(Math.abs), 1e-9);
  const photos = all(".explained", detail);
  for (const [n, photo] of photos.entries()) {
    await photo.decode().catch(() => {});
    const canvas = photo.nextElementSibling;
    paintMap(canvas, grid.maps[n], largest);
    const place = await placeOf(photo);
    let box = [place.left, place.top, place.width, place.height];
    if (n === 0 && drawn) {
      // The model has seen only this part of the photo; a query of the collection is shown whole.
      const [x, y, width, height] = drawn.map(value => value / place.pixels);
      box = [place.left + x, place.top + y, width, height];
    }
    Object.assign(canvas.style, { left: `${box[0]}px`, top: `${box[1]}px`, width: `${box[2]}px`, height: `${box[3]}px` });
    canvas.hidden = !find(".show-why", detail).checked;
  }
}

// A place that adds to the score is orange, one that takes away blue; the darker, the more.
function paintMap(canvas, rows, largest) {
  const height = rows.length, width = rows[0].length, scale = 32;
  const small = element("canvas", { width, height });
  const pixels = new ImageData(width, height);
  rows.flat().forEach((value, n) => {
    const color = value >= 0 ? [255, 106, 0] : [43, 108, 255];
    const strength = Math.abs(value) / largest;
    pixels.data.set([...color, Math.round(200 * strength)], 4 * n);
  });
  small.getContext("2d").putImageData(pixels, 0, 0);
  Object.assign(canvas, { width: width * scale, height: height * scale });
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
}

// Changing the collection -------------------------------------------------------------------------------------------

async function relabel(form) {
  const id = Number(form.closest(".detail").dataset.id);
  const label = form.elements.label.value.trim() || null;
  try {
    await request(`/api/photos/${id}`, {
      method: "PATCH", body: JSON.stringify({ label }), headers: { "Content-Type": "application/json" } });
    for (const name of all(`.card[data-id="${id}"] .name`)) name.textContent = label ?? "no label";
    find("#photo-title").textContent = label ?? "no label";
    notice(label === null ? "The label is removed." : `The label is now ${label}.`);
  } catch (error) { notice(error.message); }
}

// A removal is sent when it can no longer be undone, so that undoing it loses nothing: not the id, not the history.
const leaving = new Map();

function removeLater(id) {
  for (const card of all(`.card[data-id="${id}"]`)) card.classList.add("leaving");
  photoDialog.close();
  const shown = notice("The photo will be removed.", { button: "Undo", action: () => keep(id), seconds: UNDO_SECONDS });
  leaving.set(id, setTimeout(() => removeNow(id), UNDO_SECONDS * 1000));
  find("button", shown.box).focus();
}

function keep(id) {
  clearTimeout(leaving.get(id));
  leaving.delete(id);
  for (const card of all(`.card[data-id="${id}"]`)) card.classList.remove("leaving");
}

async function removeNow(id, isLast = false) {
  leaving.delete(id);
  try {
    // A page that is being closed may still send it.
    await request(`/api/photos/${id}`, { method: "DELETE", keepalive: isLast });
    for (const card of all(`.card[data-id="${id}"]`)) card.remove();
  } catch (error) { keep(id); notice(error.message); }
}

addEventListener("pagehide", () => { for (const [id, timer] of leaving) { clearTimeout(timer); removeNow(id, true); } });
document.addEventListener("click", event => {
  const button = event.target.closest(".remove-photo");
  if (button) removeLater(Number(button.closest(".detail").dataset.id));
});

async function addPhotos(files) {
  const bar = element("progress", { max: files.length, value: 0 });
  bar.setAttribute("aria-label", "Photos that are added");
  const { box, remove } = notice(`Adding ${files.length} ${files.length === 1 ? "photo" : "photos"} …`, { seconds: 0 });
  box.append(bar);
  const label = new URLSearchParams(location.search).get("where")?.match(/^label=([^,"]+)$/)?.[1];
  let added = 0, unchanged = 0;
  const refused = [];
  for (const file of files) {
    // One at a time, so that the bar is true and one bad file spoils nothing.
    const form = new FormData();
    form.append("photo", file, file.name);
    if (label) form.append("label", label);
    try {
      const done = await (await request("/api/photos", { method: "POST", body: form })).json();
      added += done.added;
      unchanged += done.unchanged;
      refused.push(...done.refused);
    } catch (error) { refused.push({ name: file.name, reason: error.message }); }
    bar.value += 1;
  }
  remove();
  const parts = [`Added ${added}`, unchanged && `${unchanged} were there already`, refused.length && `refused ${refused.length}`];
  const end = notice(`${parts.filter(Boolean).join(", ")}.`, { seconds: refused.length ? 30 : 8 });
  if (refused.length) find("p", end.box).append(element("ul", {}, ...refused.map(one => element("li", { textContent: `${one.name}: ${one.reason}` }))));
  if (added && find("#view")) go(location.pathname + location.search, { push: false });
}

// The map -----------------------------------------------------------------------------------------------------------

const COLORS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#b0a000", "#8c6bb1"];
const OTHER = "#8a9099";

async function startMap() {
  const canvas = find("#map"), words = find("#map-words");
  let map;
  try {
    let response = await request("/api/map");
    while (response.status === 202) {
      words.textContent = "The map is being computed; this takes up to a minute for a large collection …";
      await new Promise(resolve => setTimeout(resolve, 1000));
      response = await request("/api/map");
    }
    map = await response.json();
  } catch (error) { words.textContent = `${error.message}.`; return; }
  const part = map.shown < map.photos ? `${map.shown} of ${map.photos} photos` : `${map.shown} photos`;
  words.textContent = `${part}. Those that the model finds similar lie near each other (trustworthiness ${map.trustworthiness.toFixed(2)} of 1).`;
  showLegend(map);
  new PhotoMap(canvas, map);
}

function showLegend(map) {
  const rows = map.labels.slice(0, COLORS.length).map((label, n) => {
    const dot = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    for (const [name, value] of [["width", 10], ["height", 10], ["aria-hidden", "true"]]) dot.setAttribute(name, value);
    const circle = dot.appendChild(document.createElementNS("http://www.w3.org/2000/svg", "circle"));
    for (const [name, value] of [["cx", 5], ["cy", 5], ["r", 5], ["fill", COLORS[n]]]) circle.setAttribute(name, value);
    const quoted = /[,"]|\.\./.test(label) ? `"${label}"` : label;
    return element("li", {}, dot, element("a", { href: `/?${new URLSearchParams({ where: `label=${quoted}` })}`, textContent: label }));
  });
  if (map.labels.length > COLORS.length) rows.push(element("li", { textContent: `and ${map.labels.length - COLORS.length} more labels in grey` }));
  find("#map-legend").replaceChildren(...rows);
}

class PhotoMap {
  constructor(canvas, map) {
    Object.assign(this, { canvas, map, zoom: 1, x: 0.5, y: 0.5, pictures: new Map(), pointers: new Map(), frame: 0 });
    const extent = axis => Math.max(0.05, Math.max(...map.points.map(one => one[axis])) - Math.min(...map.points.map(one => one[axis])));
    // Directions have no meaning, so the longer side of the map lies along the longer side of the window.
    const isTall = canvas.clientHeight > canvas.clientWidth;
    if (isTall === extent(1) > extent(2)) map.points = map.points.map(([id, x, y, ...rest]) => [id, y, x, ...rest]);
    Object.assign(this, { width: extent(1), height: extent(2) });
    new ResizeObserver(() => this.draw()).observe(canvas);
    canvas.addEventListener("wheel", event => { event.preventDefault(); this.zoomBy(Math.exp(-event.deltaY / 400), event.offsetX, event.offsetY); }, { passive: false });
    canvas.addEventListener("pointerdown", event => this.press(event));
    canvas.addEventListener("pointermove", event => this.move(event));
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, event => this.release(event));
    canvas.addEventListener("keydown", event => this.key(event));
    for (const button of all("[data-zoom]")) button.onclick = () => this.zoomBy(Number(button.dataset.zoom));
  }

  get side() {
    const { canvas, width, height } = this;
    return Math.min((canvas.clientWidth - 80) / width, (canvas.clientHeight - 80) / height) * this.zoom;
  }

  screen(x, y) { return [this.canvas.clientWidth / 2 + (x - this.x) * this.side, this.canvas.clientHeight / 2 + (y - this.y) * this.side]; }

  zoomBy(factor, left = this.canvas.clientWidth / 2, top = this.canvas.clientHeight / 2) {
    if (!factor) Object.assign(this, { zoom: 1, x: 0.5, y: 0.5 });
    else {
      const before = [(left - this.canvas.clientWidth / 2) / this.side, (top - this.canvas.clientHeight / 2) / this.side];
      this.zoom = Math.max(0.7, Math.min(60, this.zoom * factor));
      this.x += before[0] - (left - this.canvas.clientWidth / 2) / this.side;
      this.y += before[1] - (top - this.canvas.clientHeight / 2) / this.side;
    }
    this.later();
  }

  press(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, event);
    this.moved = 0;
  }

  move(event) {
    const old = this.pointers.get(event.pointerId);
    if (!old) return;
    const others = [...this.pointers.values()].filter(one => one.pointerId !== event.pointerId);
    if (others.length) {
      const distance = one => Math.hypot(one.clientX - others[0].clientX, one.clientY - others[0].clientY);
      const box = this.canvas.getBoundingClientRect();
      this.zoomBy(distance(event) / Math.max(1, distance(old)), others[0].clientX - box.left, others[0].clientY - box.top);
    } else {
      this.x -= (event.clientX - old.clientX) / this.side;
      this.y -= (event.clientY - old.clientY) / this.side;
    }
    this.moved += Math.abs(event.clientX - old.clientX) + Math.abs(event.clientY - old.clientY);
    this.pointers.set(event.pointerId, event);
    this.later();
  }

  release(event) {
    this.pointers.delete(event.pointerId);
    if (event.type === "pointerup" && this.moved < 5) this.open(event.offsetX, event.offsetY);
  }

  key(event) {
    const step = 60 / this.side;
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    if (moves[event.key]) { this.x += moves[event.key][0]; this.y += moves[event.key][1]; this.later(); }
    else if (event.key === "+" || event.key === "=") this.zoomBy(1.4);
    else if (event.key === "-") this.zoomBy(1 / 1.4);
    else if (event.key === "0") this.zoomBy(0);
    else if (event.key === "Enter") this.open(this.canvas.clientWidth / 2, this.canvas.clientHeight / 2, Infinity);
    else return;
    event.preventDefault();
  }

  open(left, top, reach = 36) {
    let best = null;
    for (const point of this.map.points) {
      const [u, v] = this.screen(point[1], point[2]);
      const distance = Math.hypot(u - left, v - top);
      if (distance < reach) { reach = distance; best = point; }
    }
    if (best) openPhoto(`/photos/${best[0]}`, this.canvas);
  }

  later() { if (!this.frame) this.frame = requestAnimationFrame(() => { this.frame = 0; this.draw(); }); }

  picture(id, version) {
    if (!this.pictures.has(id)) {
      const image = new Image();
      image.onload = () => this.later();
      image.src = `/api/photos/${id}/thumbnail?v=${version}`;
      this.pictures.set(id, image);
    }
    const image = this.pictures.get(id);
    return image.complete && image.naturalWidth ? image : null;
  }

  // Photos where there is room for them, dots where they would hide each other.
  draw() {
    const { canvas } = this, ratio = devicePixelRatio || 1;
    canvas.width = canvas.clientWidth * ratio;
    canvas.height = canvas.clientHeight * ratio;
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    const side = Math.min(96, 34 + 8 * this.zoom), taken = new Map(), cell = side * 0.8;
    const visible = this.map.points.map(point => [point, ...this.screen(point[1], point[2])])
      .filter(([, u, v]) => u > -side && v > -side && u < canvas.clientWidth + side && v < canvas.clientHeight + side);
    for (const [point, u, v] of visible) {
      context.fillStyle = COLORS[point[3]] ?? OTHER;
      context.beginPath();
      context.arc(u, v, 4, 0, 7);
      context.fill();
    }
    for (const [point, u, v] of visible) {
      const place = `${Math.floor((u - canvas.clientWidth / 2 + this.x * this.side) / cell)} ${Math.floor((v - canvas.clientHeight / 2 + this.y * this.side) / cell)}`;
      if (taken.has(place) || taken.size >= 220) continue;
      const image = this.picture(point[0], point[4]);
      taken.set(place, true);
      if (!image) continue;
      const small = Math.min(image.naturalWidth, image.naturalHeight);
      context.fillStyle = COLORS[point[3]] ?? OTHER;
      context.beginPath();
      context.roundRect(u - side / 2 - 2, v - side / 2 - 2, side + 4, side + 4, 8);
      context.fill();
      context.save();
      context.beginPath();
      context.roundRect(u - side / 2, v - side / 2, side, side, 6);
      context.clip();
      context.drawImage(image, (image.naturalWidth - small) / 2, (image.naturalHeight - small) / 2, small, small, u - side / 2, v - side / 2, side, side);
      context.restore();
    }
  }
}

showScriptParts();
drawRegion();
watchRegion();
// Beside the photos there is room for the filters.
if (find("#filters") && matchMedia("(min-width: 52rem)").matches) find("#filters").open = true;
if (find("#map")) startMap();
const own = find("#photo-page .detail");
if (own) explain(own);
