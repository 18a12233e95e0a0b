// The list of rooms counts what is new in each, and the title of the page in all of them.
const chat = document.querySelector(".chat");
const me = Number(chat.dataset.person);
const title = document.title;
const count = (room) => chat.querySelector(`.rooms-room[data-room="${room}"] .rooms-unread`);

function set(room, unread) {
  const shown = count(room);
  if (!shown) return;
  shown.dataset.count = unread;
  shown.firstChild.textContent = unread > 99 ? "99+" : unread;
  shown.hidden = !unread;
  total();
}

function total() {
  const unread = [...chat.querySelectorAll(".rooms-unread")].reduce((sum, each) => sum + Number(each.dataset.count), 0);
  document.title = unread ? `(${unread > 99 ? "99+" : unread}) ${title}` : title;
}

function isBeingRead(room) {
  return room === Number(chat.dataset.room) && chat.dataset.following === "true" && !document.hidden;
}

async function renew(tries = 5) {
  const answer = await fetch(location.href).catch(() => null);
  if (!answer?.ok) return tries > 1 && setTimeout(renew, 1000, tries - 1);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  chat.querySelector("#chat-rooms").replaceChildren(...page.querySelectorAll("#chat-rooms > li"));
  total();
}

const answers = {
  LinePosted({ actor, payload: { room } }) {
    if (actor !== me && !isBeingRead(room)) set(room, Number(count(room)?.dataset.count ?? 0) + 1);
  },
  MemberInvited({ payload }) {
    if (payload.person === me) renew();
  },
  RoomLeft({ subject }) {
    chat.querySelector(`#chat-rooms > #${subject.replace(":", "-")}`)?.remove();
    total();
  },
};

document.addEventListener("freehold:event", ({ detail }) => answers[detail.kind]?.(detail));
document.addEventListener("freehold:refreshed", total);
document.addEventListener("chat:read", ({ detail }) => set(detail.room, 0));
chat.querySelector(".rooms [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
total();
