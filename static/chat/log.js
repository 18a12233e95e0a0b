// The log of a room follows its newest line, or offers to; says aloud what is new; knows one's own lines; notes how far one has read.
const chat = document.querySelector(".chat");
const { room, person } = chat.dataset;
const log = chat.querySelector(".log");
const jump = chat.querySelector("[data-jump]");
const reading = document.querySelector("#reading");

const NEAR = 100; // pixels from the bottom that count as being there
const MOST = 300; // lines in one page
const HEARD_AT_ONCE = 3;

const newest = () => document.getElementById(`room-${room}-lines`);
const last = () => newest()?.querySelector(":scope > [data-line]:last-of-type");
const isAtBottom = () => log.scrollHeight - log.scrollTop - log.clientHeight < NEAR;
const ourRoom = (event) => event.payload.room === Number(room);

let following = false;
let isTouched = false;
let missed = 0;
let isRead = !chat.querySelector("[aria-current] .rooms-unread:not([hidden])");
let heard = [];
let speech, note;

function follow(wanted) {
  following = Boolean(newest()) && wanted;
  chat.dataset.following = following;
  if (following) missed = 0;
  jump.hidden = !newest() ? !missed : following;
  jump.querySelector("span").textContent = missed ? `${missed} new ${missed === 1 ? "line" : "lines"}` : "Jump to newest";
  if (following) readSoon();
}

function stick() {
  if (following) log.scrollTop = log.scrollHeight;
}

function claim() {
  for (const line of log.querySelectorAll(`[data-author="${person}"]:not(.line-mine)`)) line.classList.add("line-mine");
}

function trim() {
  const lines = newest()?.querySelectorAll(":scope > li") ?? [];
  if (!following || lines.length <= MOST) return;
  for (const line of [...lines].slice(0, lines.length - MOST / 2)) line.remove();
  const way = log.querySelector("[data-earlier]");
  way.hidden = false;
  way.querySelector("a").href = `?before=${newest().querySelector("[data-line]").dataset.line}`;
}

function hear({ subject }) {
  const line = document.getElementById(subject.replace(":", "-"));
  if (!line || !newest()?.contains(line)) return;
  const words = line.querySelector(".line-text")?.textContent.trim().slice(0, 300);
  if (words) heard.push(`${line.querySelector(".line-author").textContent}: ${words}`);
  speech ??= setTimeout(say, 600);
}

function say() {
  chat.querySelector("[data-news]").textContent = heard.length > HEARD_AT_ONCE ? `${heard.length} new lines` : heard.join("\n");
  [heard, speech] = [[], null];
}

function readSoon() {
  if (isRead || note || document.hidden || !last()) return;
  note = setTimeout(read, 1_500);
}

async function read() {
  note = null;
  if (document.hidden || !following || !last()) return;
  isRead = true;
  reading.elements.line.value = last().dataset.line;
  const sent = { method: "POST", headers: { "HX-Request": "true" }, body: new FormData(reading), keepalive: true };
  const answer = await fetch(reading.action, sent).catch(() => null);
  if (answer?.ok) document.dispatchEvent(new CustomEvent("chat:read", { detail: { room } }));
  else isRead = false;
}

async function earlier(event) {
  const way = event.target.closest("[data-earlier] a");
  if (!way || event.ctrlKey || event.metaKey || event.shiftKey || log.querySelectorAll(".line").length >= MOST) return;
  event.preventDefault();
  const answer = await fetch(way.href).catch(() => null);
  if (!answer?.ok) return location.assign(way.href);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const first = log.querySelector(".line");
  const place = first.getBoundingClientRect().bottom;
  log.querySelector(".lines").prepend(...page.querySelectorAll(".log-page > .lines > .line"));
  log.querySelector("[data-earlier]").replaceWith(page.querySelector("[data-earlier]"));
  log.scrollTop += first.getBoundingClientRect().bottom - place;
  (log.querySelector("[data-earlier]:not([hidden]) a") ?? log).focus({ preventScroll: true });
}

function goodbye() {
  const words = chat.querySelector("#text")?.value.trim();
  chat.querySelector(".talk").replaceChildren(document.querySelector("#gone").content.cloneNode(true));
  document.querySelector("#people")?.remove();
  if (!words) return;
  const kept = Object.assign(document.createElement("textarea"), { value: words, readOnly: true, rows: 4 });
  kept.setAttribute("aria-label", "What you were writing");
  chat.querySelector(".talk").append(kept);
}

function take({ detail: event }) {
  if (event.kind === "RoomLeft" && event.subject === `room:${room}`) return goodbye();
  if (event.kind !== "LinePosted" || !ourRoom(event) || event.actor === Number(person)) return;
  isRead = false;
  if (!following) missed += 1;
  hear(event);
  follow(following);
}

function begin() {
  const from = location.hash.length > 1 && location.hash !== "#newest" ? document.querySelector(`#${CSS.escape(location.hash.slice(1))}`) : null;
  const unread = log.querySelector(".lines-new");
  if (from) from.scrollIntoView({ block: "center" });
  else if (!newest()) log.scrollTop = location.search.startsWith("?before") ? log.scrollHeight : 0;
  else if (unread) log.scrollTop += unread.getBoundingClientRect().top - log.getBoundingClientRect().top - 60;
  else log.scrollTop = log.scrollHeight;
  follow(isAtBottom());
}

for (const form of log.querySelectorAll(".lines-new form")) form.hidden = true;
log.addEventListener("scroll", () => follow(isAtBottom()), { passive: true });
log.addEventListener("click", earlier);
jump.addEventListener("click", (event) => {
  if (!newest()) return;
  event.preventDefault();
  log.scrollTop = log.scrollHeight;
});
new MutationObserver(() => {
  claim();
  trim();
  stick();
}).observe(log, { childList: true, subtree: true });
const sizes = new ResizeObserver(stick);
for (const box of [log, ...log.children]) sizes.observe(box);
document.addEventListener("freehold:event", take);
document.addEventListener("freehold:refreshed", () => follow(isAtBottom()));
document.addEventListener("visibilitychange", () => follow(following));
for (const act of ["wheel", "touchmove", "keydown", "pointerdown"]) {
  log.addEventListener(act, () => { isTouched = true; }, { passive: true, once: true });
}
// Browsers go to what an address names when all has arrived, so the place is taken again then.
begin();
window.addEventListener("load", () => isTouched || begin(), { once: true });
