// The bars show tabs, address and state; every foreign word goes in as text, never as markup.

const SVG = 'http://www.w3.org/2000/svg';
/** Characters of a title that are kept; the rest could not be seen. */
const MAX_TITLE = 300;
/** Tabs that are drawn; a page that opens thousands must not freeze the strip. */
const MAX_TABS = 200;

const element = (selector) => document.querySelector(selector);

/** The address that a person means, or null. Only what the node lets pass: http, https and about:blank. */
export function meant(text) {
  const typed = text.trim();
  if (typed === 'about:blank') return typed;
  const isAbsolute = /^https?:\/\//i.test(typed);
  if (!isAbsolute && (/^[a-z][a-z0-9+.-]*:(?!\d+(\/|$))/i.test(typed) || /\s/.test(typed) || !typed)) return null;
  const isLocal = /^(localhost|\[|\d+(\.\d+){3})/i.test(typed);
  const url = parse(isAbsolute ? typed : `${isLocal ? 'http' : 'https'}://${typed}`);
  if (!url || !['http:', 'https:'].includes(url.protocol)) return null;
  return isAbsolute || isLocal || /[.:]/.test(url.host) ? url.href : null;
}

/** An address in its three parts, host apart, for showing. */
export function dissect(text) {
  const url = parse(text);
  if (!url || !['http:', 'https:'].includes(url.protocol)) return { scheme: '', before: text, host: '', after: '' };
  const after = `${url.pathname}${url.search}${url.hash}`;
  return { scheme: url.protocol === 'https:' ? '' : 'Not secure', before: '', host: url.host, after: after === '/' ? '' : after };
}

function parse(text) {
  try {
    return new URL(text);
  } catch {
    return null;
  }
}

export class Bars {
  /** `to` has `send(message)`, `mayAct()`, `say(text)`, `toPage()`. */
  constructor(to) {
    this.to = to;
    this.tabs = [];
    this.boxes = new Map();
    this.shownTab = null;
    this.steps = { back: false, forward: false };
    this.title = '';
    this.field = element('.address input');
    this.listen();
  }

  listen() {
    const { to } = this;
    const step = (name) => () => to.send({ type: 'history', step: name });
    element('.back').onclick = step('back');
    element('.forward').onclick = step('forward');
    element('.reload').onclick = () => step(document.body.classList.contains('loading') ? 'stop' : 'reload')();
    element('.open-tab').onclick = () => {
      to.send({ type: 'tab', action: 'open', id: '', url: '' });
      this.toAddress();
    };
    element('.address').onsubmit = (event) => {
      event.preventDefault();
      this.go();
    };
    this.field.addEventListener('focus', () => this.field.select());
    // The first click takes the whole address; the next one places the caret.
    this.field.addEventListener('mousedown', (event) => {
      if (document.activeElement === this.field) return;
      event.preventDefault();
      this.field.focus();
    });
    this.field.addEventListener('blur', () => this.showAddress());
    this.field.addEventListener('keydown', (event) => {
      if (event.key !== 'Escape') return;
      this.showAddress();
      to.toPage();
    });
    element('.tabs').addEventListener('keydown', (event) => this.walk(event));
  }

  go() {
    const url = meant(this.field.value);
    if (!url) {
      this.to.say('Only web addresses open here, such as example.com or http://192.0.2.1:8080/');
      return;
    }
    this.to.send({ type: 'navigate', url });
    this.to.toPage();
  }

  toAddress() {
    this.field.focus();
    this.field.select();
  }

  // Tabs

  get active() {
    return this.tabs.find((tab) => tab.active) ?? null;
  }

  /** Tabs keep their elements: a page that renames itself all the time must not swallow the click on its tab. */
  setTabs(tabs) {
    this.tabs = tabs.slice(0, MAX_TABS);
    const strip = element('.tabs');
    const hadFocus = strip.contains(document.activeElement);
    const before = this.active?.id;
    this.boxes = new Map(this.tabs.map((tab) => [tab.id, this.boxes.get(tab.id) ?? this.makeTab(tab.id)]));
    for (const tab of this.tabs) this.drawTab(tab);
    const wanted = [...this.boxes.values()];
    const isSame = wanted.length === strip.children.length && wanted.every((box, index) => strip.children[index] === box);
    if (!isSame) strip.replaceChildren(...wanted);
    const shown = this.boxes.get(before);
    if (!isSame || this.shownTab !== before) shown?.scrollIntoView({ block: 'nearest', inline: 'nearest' });
    this.shownTab = before;
    if (hadFocus && !shown?.contains(document.activeElement)) shown?.querySelector('.name').focus();
    this.showAddress();
    this.showTitle();
  }

  makeTab(id) {
    const box = document.createElement('div');
    box.role = 'presentation';
    const [name, shut] = ['name', 'shut'].map((className) => Object.assign(document.createElement('button'), { type: 'button', className }));
    name.role = 'tab';
    name.onclick = () => this.act('activate', id);
    shut.onclick = () => this.act('close', id);
    shut.append(cross());
    box.onmousedown = (event) => event.button === 1 && event.preventDefault();
    box.onauxclick = (event) => event.button === 1 && this.act('close', id);
    box.append(name, shut);
    return box;
  }

  drawTab(tab) {
    const box = this.boxes.get(tab.id);
    const [name, shut] = box.children;
    const title = nameOf(tab);
    box.className = tab.active ? 'tab active' : 'tab';
    if (name.textContent !== title) name.textContent = name.title = title;
    name.ariaSelected = String(tab.active);
    shut.ariaLabel = `Close ${title}`;
    name.tabIndex = shut.tabIndex = tab.active ? 0 : -1;
  }

  act(action, id) {
    this.to.send({ type: 'tab', action, id, url: '' });
  }

  /** Arrow keys go along the tabs, Delete closes one. */
  walk(event) {
    const at = this.tabs.findIndex((tab) => tab.active);
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const next = this.tabs[at + step];
    if (next) this.act('activate', next.id);
    if (event.key === 'Delete' && at >= 0) this.act('close', this.tabs[at].id);
  }

  // What is shown

  showAddress() {
    const url = this.active?.url ?? '';
    const known = url === 'about:blank' ? '' : url;
    if (document.activeElement !== this.field) this.field.value = known;
    const { scheme, before, host, after } = dissect(known);
    element('.scheme').textContent = scheme;
    element('.before').textContent = before;
    element('.host').textContent = host;
    element('.after').textContent = after;
    element('.pretty').classList.toggle('empty', known === '');
    element('.address').style.setProperty('--scheme', `${element('.scheme').offsetWidth + 9}px`);
  }

  showTitle() {
    const page = this.active ? nameOf(this.active) : this.title;
    document.title = page ? `${page} - cbrowse` : 'cbrowse';
  }

  setLoading({ loading, can_back: back, can_forward: forward }) {
    document.body.classList.toggle('loading', loading === true);
    const reload = element('.reload');
    reload.ariaLabel = loading ? 'Stop' : 'Reload';
    reload.title = loading ? 'Stop' : 'Reload (F5)';
    this.steps = { back: back === true, forward: forward === true };
    this.allow();
  }

  /** Enables what may be used now. */
  allow() {
    const may = this.to.mayAct();
    for (const button of document.querySelectorAll('.steering')) button.disabled = !may;
    element('.back').disabled = !may || !this.steps.back;
    element('.forward').disabled = !may || !this.steps.forward;
    this.field.readOnly = !may;
    element('.picture').disabled = document.body.dataset.link !== 'live';
  }
}

function cross() {
  const picture = document.createElementNS(SVG, 'svg');
  picture.setAttribute('viewBox', '0 0 12 12');
  const lines = document.createElementNS(SVG, 'path');
  lines.setAttribute('d', 'm2.5 2.5 7 7M9.5 2.5l-7 7');
  picture.append(lines);
  return picture;
}

function nameOf(tab) {
  return (tab.title || dissect(tab.url).host || 'New tab').slice(0, MAX_TITLE);
}
