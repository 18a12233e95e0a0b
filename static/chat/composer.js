// The composer grows and sends by Enter. A line stands in the log at once, and its text is kept until the server has it: without a
// connection it is tried again by itself, one line after the other; the same line sent twice is written once.
const chat = document.querySelector(".chat");
const { room, person } = chat.dataset;
const form = chat.querySelector("#composer");
const box = form.elements.text;
const list = chat.querySelector("[data-unsent]");
const log = chat.querySelector(".log");
const mold = document.querySelector("#unsent");
const PLACE = `freehold-chat-${person}-${room}`;
const isTouch = matchMedia("(hover: none) and (pointer: coarse)").matches;

const unsent = [];
let isSending = false;
let wake = () => {};

const fresh = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
const pause = (seconds) => new Promise((resolve) => { wake = resolve; setTimeout(resolve, seconds * 1000); });

function keep() {
  const lines = unsent.map(({ id, text, refused }) => ({ id, text, refused }));
  try {
    if (box.value || lines.length) sessionStorage.setItem(PLACE, JSON.stringify({ draft: box.value, lines }));
    else sessionStorage.removeItem(PLACE);
  } catch { /* What cannot be kept is still in the page. */ }
}

function recall() {
  try {
    return JSON.parse(sessionStorage.getItem(PLACE)) ?? { draft: "", lines: [] };
  } catch {
    return { draft: "", lines: [] };
  }
}

function grow() {
  if (CSS.supports("field-sizing", "content")) return;
  box.style.blockSize = "auto";
  box.style.blockSize = `${box.scrollHeight + 2}px`;
}

function write(text) {
  box.value = text;
  grow();
  keep();
}

function add(line) {
  line.place = mold.content.firstElementChild.cloneNode(true);
  line.place.querySelector(".line-text p").textContent = line.text;
  line.place.querySelector("[data-retry]").addEventListener("click", () => retry(line));
  line.place.querySelector("[data-take-back]").addEventListener("click", () => takeBack(line));
  unsent.push(line);
  list.append(line.place);
  show(line, line.refused ?? "Waiting…");
}

function show(line, words) {
  line.place.querySelector("[data-state]").textContent = words;
  line.place.classList.toggle("is-refused", Boolean(line.refused));
  line.place.querySelector(".line-retry").hidden = !words.startsWith("Not sent");
}

function retry(line) {
  line.refused = undefined;
  wake();
  work();
}

function takeBack(line) {
  forget(line);
  write([line.text, box.value].filter(Boolean).join("\n"));
  box.focus();
}

function forget(line) {
  unsent.splice(unsent.indexOf(line), 1);
  line.place.remove();
  keep();
}

// One after the other, so that lines stand in the order in which they were written.
async function work() {
  if (isSending) return;
  isSending = true;
  for (let wait = 2, line; (line = unsent.find((each) => !each.refused)); ) {
    const done = await send(line);
    if (done) wait = 2;
    else await pause(wait);
    wait = done ? 2 : Math.min(30, wait * 2);
  }
  isSending = false;
}

async function send(line) {
  show(line, "Sending…");
  const body = new FormData(form);
  body.set("text", line.text);
  body.set("client_id", line.id);
  const answer = await fetch(form.action, { method: "POST", headers: { "HX-Request": "true" }, body }).catch(() => null);
  const piece = answer?.status === 201 && (await answer.text().catch(() => null));
  if (piece) confirm(line, piece);
  else if (answer && answer.status < 500 && answer.status !== 429 && !answer.ok) refuse(line, answer.status);
  else show(line, "Not sent yet. It is tried again by itself.");
  return Boolean(piece || line.refused);
}

function refuse(line, status) {
  line.refused = status === 404 ? "Not sent: this room is no longer there for you." : "Not sent. Load this page again, then retry.";
  show(line, line.refused);
  keep();
}

function confirm(line, piece) {
  const lines = document.getElementById(`room-${room}-lines`);
  const mine = new DOMParser().parseFromString(`<ol>${piece}</ol>`, "text/html").querySelector("li");
  forget(line);
  if (!lines) return location.assign(`/desk/chat/rooms/${room}#newest`);
  if (document.getElementById(mine.id)) return;
  const after = [...lines.querySelectorAll(":scope > [data-line]")].find((each) => Number(each.dataset.line) > Number(mine.dataset.line));
  lines.insertBefore(mine, after ?? null);
}

function submit(event) {
  event.preventDefault();
  const text = box.value.trim();
  if (!text) return;
  add({ id: form.elements.client_id.value, text });
  form.elements.client_id.value = fresh();
  write("");
  log.scrollTop = log.scrollHeight;
  work();
}

function press(event) {
  if (event.key === "ArrowUp" && !box.value) return changeLast(event);
  if (event.key !== "Enter" || event.isComposing || event.keyCode === 229) return;
  if (event.shiftKey || event.altKey || (isTouch && !event.ctrlKey && !event.metaKey)) return;
  event.preventDefault();
  form.requestSubmit();
}

function changeLast(event) {
  const way = [...log.querySelectorAll(`[data-author="${person}"] > .line-change`)].at(-1);
  if (!way) return;
  event.preventDefault();
  way.click();
}

const { draft, lines } = recall();
for (const line of lines) add(line);
if (!box.value) write(draft);
form.noValidate = true;
form.querySelector("[data-keys]").hidden = isTouch;
form.addEventListener("submit", submit);
box.addEventListener("keydown", press);
box.addEventListener("input", () => { grow(); keep(); });
window.addEventListener("online", () => wake());
document.addEventListener("freehold:connection", ({ detail }) => detail.up && wake());
work();
