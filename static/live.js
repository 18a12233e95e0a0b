// A page of the desk keeps up with what happens. Each event's fragment is applied, then "freehold:event" tells the page's own scripts.
// After a reset the page is fetched again and whatever has data-live-refresh and an id takes its new state ("freehold:refreshed"),
// except where somebody is writing. "freehold:connection" says whether anything can be heard at all. Needs htmx and its upsert.
import { Stream, isLater } from "./stream.js";

const { live, person } = document.body.dataset;
const banner = document.querySelector("[data-live-banner]");
const stream = new Stream(`freehold-live-${person}`, { position: () => position, take, connected });
const handlers = { message: apply, beat: ({ id }) => move(id), reset: refresh };
let position = live;
let work = Promise.resolve();
let worry;

const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));
const announce = (name, detail) => document.dispatchEvent(new CustomEvent(`freehold:${name}`, { detail }));
const swap = (how) => htmx.swap({ sourceElement: document.body, ...how });

if (live) {
  connected(false);
  // Not before the page's own scripts listen: what is heard first would be lost on them.
  document.addEventListener("DOMContentLoaded", () => stream.start(), { once: true });
  window.addEventListener("pageshow", ({ persisted }) => persisted && leave());
}

// One after the other, in the order heard; what cannot be applied stops nothing.
function take(message) {
  if (message.type === "end") leave();
  else work = work.then(() => handlers[message.type](message)).catch(console.error);
}

function move(id) {
  const isNew = isLater(id, position);
  if (isNew) position = id;
  return isNew;
}

async function apply({ id, data }) {
  if (!move(id)) return;
  const { html, ...event } = JSON.parse(data);
  if (html) await keepingFocus(() => swap({ text: html, target: document.body, swap: "none" }));
  announce("event", { ...event, id });
}

// What has the focus keeps it; when it is replaced, whatever stands in the same place of the same element gets it.
async function keepingFocus(change) {
  const held = document.activeElement;
  const home = held.closest("[id]");
  const place = home ? [home, ...home.querySelectorAll("*")].indexOf(held) : -1;
  await change();
  if (held === document.activeElement || held === document.body) return;
  const successor = () => {
    const fresh = !home?.isConnected && document.getElementById(home?.id);
    return fresh && [fresh, ...fresh.querySelectorAll("*")][place];
  };
  (held.isConnected ? held : successor())?.focus?.({ preventScroll: true });
}

async function refresh({ id }) {
  const answer = await fetched();
  if (answer.ok && !answer.redirected) await renew(new DOMParser().parseFromString(await answer.text(), "text/html"), id);
  else if (!isWrittenIn(document.body)) return leave();
  else [banner.textContent, position] = [banner.dataset.outdated, id ?? position];
  announce("refreshed");
  stream.resume();
}

async function fetched() {
  for (let wait = 1; ; wait = Math.min(30, wait * 2)) {
    const answer = await fetch(location.href, { cache: "no-store" }).catch(() => null);
    if (answer && answer.status < 500 && answer.status !== 429) return answer;
    await pause(wait);
  }
}

async function renew(page, id) {
  for (const fresh of page.querySelectorAll("[data-live-refresh][id]")) {
    const old = document.getElementById(fresh.id);
    if (old && !isWrittenIn(old)) await keepingFocus(() => swap({ text: fresh.outerHTML, target: old, swap: "outerMorph" }));
  }
  position = page.body.dataset.live ?? id ?? position;
}

function isWrittenIn(place) {
  const fields = [...place.querySelectorAll("input, select, textarea")];
  return fields.includes(document.activeElement) || fields.some(isChanged);
}

function isChanged(field) {
  if (["checkbox", "radio"].includes(field.type)) return field.checked !== field.defaultChecked;
  if (!field.options) return field.value !== field.defaultValue;
  const first = [...field.options].findIndex((option) => option.defaultSelected);
  return Math.max(0, field.selectedIndex) !== Math.max(0, first);
}

// The server says what has become of this page. One that is sent away again at once waits ten seconds.
async function leave() {
  stream.stop();
  const last = Number(sessionStorage.getItem("freehold-left"));
  if (Date.now() - last < 10_000) await pause(10);
  sessionStorage.setItem("freehold-left", Date.now());
  location.replace(location.pathname + location.search);
}

function connected(up) {
  announce("connection", { up });
  if (!up) return (worry ??= setTimeout(() => { banner.textContent = banner.dataset.lost; }, 5_000));
  clearTimeout(worry);
  worry = null;
  if (banner.textContent === banner.dataset.lost) banner.textContent = "";
}
