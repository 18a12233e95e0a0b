// One stream of what happens, shared by the tabs of a browser. The tab that holds a lock leads: it listens to /live, passes on what it
// hears and keeps the last 500 messages. The others say where they stand and are told what they missed. When the leader falls silent,
// for phones freeze hidden tabs, a tab that is looked at takes the lock. Where there are no locks, every tab listens for itself.
//
// A position is "<epoch>-<id>": the life of the tenant's file, and the last event seen. `page` is {position(), take(message),
// connected(up)}. Its messages are {type, id, data}; types: message, beat, reset, end. A message may come to it twice, in any case in order.
const KEPT = 500;
const SILENT = 45_000;
const DOUBTFUL = 25_000;
const ANSWER = 3_000;

const parts = (position) => /^(.*)-(\d+)$/.exec(position) ?? [];
const sameLife = (one, other) => parts(one)[1] === parts(other)[1];

export const isLater = (one, other) => sameLife(one, other) && Number(parts(one)[2]) > Number(parts(other)[2]);

export class Stream {
  constructor(name, page) {
    Object.assign(this, { name, page, tab: Math.random(), heard: Date.now() });
    Object.assign(this, { leading: false, joined: false, up: false, stopped: false, tries: 0, refusals: 0 });
  }

  start() {
    document.addEventListener("visibilitychange", () => (document.hidden ? this.rest() : this.wake()));
    window.addEventListener("online", () => this.wake());
    window.addEventListener("offline", () => this.leading && this.lost());
    this.clock = setInterval(() => this.watch(), 5_000);
    if (!navigator.locks || !window.BroadcastChannel) return this.lead();
    this.channel = new BroadcastChannel(this.name);
    this.channel.onmessage = ({ data }) => this.hear(data);
    this.queue();
    this.join();
  }

  stop() {
    this.stopped = true;
    clearInterval(this.clock);
    clearTimeout(this.doubt);
    this.turn?.abort();
    this.channel?.close();
    this.hush();
  }

  // The page has been fetched again: go on from where it stands now.
  resume() {
    if (!this.leading) this.join();
    else if (!sameLife(this.page.position(), this.tip)) this.begin();
  }

  wake() {
    if (!this.leading) return this.join();
    const patience = { [EventSource.CONNECTING]: 5_000, [EventSource.OPEN]: DOUBTFUL }[this.source.readyState] ?? 0;
    if (Date.now() - this.heard < patience) return;
    this.tries = 0;
    this.connect();
  }

  // A browser makes six connections to a host; where tabs cannot share one, those that nobody sees do without.
  rest() {
    if (!this.channel) this.hush();
  }

  watch() {
    if (Date.now() - this.heard < SILENT || (!this.channel && document.hidden)) return;
    if (this.leading) this.lost();
    else if (!document.hidden) this.takeOver();
  }

  // The lock.

  queue() {
    this.turn = new AbortController();
    this.hold({ signal: this.turn.signal });
  }

  takeOver() {
    this.heard = Date.now();
    this.turn.abort();
    this.hold({ steal: true });
  }

  hold(how) {
    navigator.locks.request(this.name, how, () => this.lead()).catch(() => this.leading && this.follow());
  }

  lead() {
    this.leading = true;
    this.begin();
    return new Promise(() => {}); // the lock is held until the page goes, or another tab takes it
  }

  follow() {
    this.leading = false;
    this.hush();
    this.queue();
    this.join();
  }

  // What the leader does.

  begin() {
    this.ring = [];
    this.floor = this.tip = this.page.position();
    this.connect();
    this.say({ call: true });
  }

  connect() {
    this.hush();
    if (this.stopped) return;
    this.heard = Date.now();
    this.address = `/live?after=${encodeURIComponent(this.tip)}`;
    const source = (this.source = new EventSource(this.address));
    source.onopen = () => this.tell({ up: true });
    source.onerror = () => this.fail(source.readyState === EventSource.CLOSED);
    for (const type of ["message", "beat", "reset", "end"]) source.addEventListener(type, (event) => this.receive(event));
  }

  hush() {
    clearTimeout(this.again);
    this.source?.close();
  }

  receive({ type, data, lastEventId: id }) {
    this.heard = Date.now();
    this.tries = this.refusals = 0;
    if (type === "message" && !isLater(id, this.tip)) return;
    if (type === "reset") [this.ring, this.floor, this.tip] = [[], id, id];
    else if (id) this.tip = id;
    if (type === "message") this.ring.push({ type, id, data });
    if (this.ring.length > KEPT) this.floor = this.ring.shift().id;
    this.tell({ type, id, data });
  }

  // An EventSource cannot say why it was refused; a plain request can, now and then.
  async fail(isRefused) {
    this.lost();
    if (!isRefused || this.refusals++ % 4) return;
    const asking = new AbortController();
    const answer = await fetch(this.address, { signal: asking.signal }).catch(() => null);
    asking.abort();
    if (answer?.status === 401) this.tell({ type: "end", data: '{"reason": "signed out"}' });
  }

  // Try again after 1 to 2 seconds, while a process may be starting again; later after 1 to 30.
  lost() {
    this.hush();
    this.tell({ up: false });
    const most = Math.min(30, 2 ** Math.max(1, this.tries++ - 4));
    this.again = setTimeout(() => this.connect(), 1000 * (1 + Math.random() * (most - 1)));
  }

  answer({ hello: to, after }) {
    const reaches = sameLife(after, this.floor) && !isLater(this.floor, after);
    this.say({ to, up: this.up, missed: reaches ? this.ring.filter(({ id }) => isLater(id, after)) : [{ type: "reset" }] });
    if (sameLife(after, this.tip)) this.wake();
    else this.connect();
  }

  // What the others do. Until the leader has answered, what it tells all is left alone: the answer has it too.

  join() {
    if (this.stopped) return;
    this.joined = false;
    this.say({ hello: this.tab, after: this.page.position() });
    clearTimeout(this.doubt);
    this.doubt = setTimeout(() => this.joined || this.leading || document.hidden || this.takeOver(), ANSWER);
  }

  hear(said) {
    if (this.leading) return said.hello && this.answer(said);
    if (said.hello || (said.to && said.to !== this.tab)) return;
    this.heard = Date.now();
    if (said.call) return this.join();
    if (said.to) this.joined = true;
    for (const message of said.missed ?? []) this.pass(message);
    if ("up" in said || this.joined || said.type === "end") this.pass(said);
  }

  tell(message) {
    this.say(message);
    this.pass(message);
  }

  say(message) {
    if (!this.stopped) this.channel?.postMessage(message);
  }

  pass(message) {
    if (message.type === "reset") this.joined = false;
    if ("up" in message) this.page.connected((this.up = message.up));
    else this.page.take(message);
  }
}
