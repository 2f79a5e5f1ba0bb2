// The figures say how the link is doing: round trips by ping, input to picture, frames and bytes a second.

/** Milliseconds between pings while the panel is open, and while it is not: an idle page costs next to nothing. */
const PING_OPEN = 1000;
const PING_SHUT = 10_000;
/** Samples kept for a median, and points of the line. */
const SAMPLES = 15;
const POINTS = 60;
/** A picture that comes later than this is no answer to the input. */
const MAX_ANSWER = 2000;

const element = (selector) => document.querySelector(selector);

export function median(values) {
  if (values.length === 0) return null;
  const sorted = [...values].sort((one, other) => one - other);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

export class Figures {
  /** `to` has `send(message)` and `about()`: the fixed part of the list, pairs of words. */
  constructor(to) {
    this.to = to;
    this.panel = element('.figures');
    this.isOpen = false;
    // Pages that share a session see each other's pongs; tokens start far apart and stay exact as a number.
    this.token = Math.floor(Math.random() * 2 ** 48);
    this.reset();
    setInterval(() => this.tick(), PING_OPEN);
    element('.status').onclick = () => this.toggle();
  }

  /** A new link: what was measured on the old one says nothing. */
  reset() {
    this.trips = [];
    this.answers = [];
    this.line = new Array(POINTS).fill(0);
    this.frames = this.bytes = this.quiet = 0;
    this.rate = { frames: 0, bytes: 0 };
    this.acted = this.pinged = null;
    this.since = performance.now();
    this.show();
  }

  toggle() {
    this.isOpen = !this.isOpen;
    this.panel.hidden = !this.isOpen;
    element('.status').ariaExpanded = String(this.isOpen);
    this.ping();
    this.show();
  }

  ping() {
    this.token += 1;
    this.pinged = { token: this.token, at: performance.now() };
    this.quiet = 0;
    this.to.send({ type: 'ping', token: this.token });
  }

  pong({ token }) {
    if (token !== this.pinged?.token) return;
    this.keep(this.trips, performance.now() - this.pinged.at);
    this.pinged = null;
    this.show();
  }

  /** The person did something that may change the picture. */
  act() {
    this.acted ??= performance.now();
  }

  /** A frame is on the canvas. One that came sooner than a round trip was under way before the input. */
  frame(length) {
    this.frames += 1;
    this.bytes += length;
    if (this.acted === null) return;
    const took = performance.now() - this.acted;
    if (took < Math.min(...this.trips, MAX_ANSWER)) return;
    if (took <= MAX_ANSWER) this.keep(this.answers, took);
    this.acted = null;
  }

  keep(samples, value) {
    samples.push(value);
    if (samples.length > SAMPLES) samples.shift();
  }

  tick() {
    const now = performance.now();
    const seconds = (now - this.since) / 1000;
    this.rate = { frames: this.frames / seconds, bytes: this.bytes / seconds };
    this.frames = this.bytes = 0;
    this.since = now;
    this.line.push(this.rate.frames);
    this.line.shift();
    if (this.acted !== null && now - this.acted > MAX_ANSWER) this.acted = null;
    this.quiet += PING_OPEN;
    if (this.quiet >= (this.isOpen ? PING_OPEN : PING_SHUT)) this.ping();
    if (this.isOpen) this.show();
  }

  show() {
    const trip = median(this.trips);
    element('.delay').textContent = trip === null ? '' : milliseconds(trip);
    if (!this.isOpen) return;
    const list = [
      ['Round trip', milliseconds(trip)],
      ['Input to picture', milliseconds(median(this.answers))],
      ['Data', `${(this.rate.bytes / 1000).toFixed(this.rate.bytes < 10_000 ? 1 : 0)} KB/s`],
      ...this.to.about(),
    ];
    this.panel.querySelector('dl').replaceChildren(...list.flatMap(row));
    const top = Math.max(30, ...this.line);
    element('.trace-top').textContent = String(Math.round(this.rate.frames));
    const points = this.line.map((value, index) => `${(index * 220) / (POINTS - 1)},${39 - (value / top) * 38}`);
    this.panel.querySelector('polyline').setAttribute('points', points.join(' '));
  }
}

function row([word, value]) {
  const term = document.createElement('dt');
  const detail = document.createElement('dd');
  term.textContent = word;
  detail.textContent = value;
  detail.title = value;
  return [term, detail];
}

function milliseconds(value) {
  if (value === null) return '–';
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;
}
