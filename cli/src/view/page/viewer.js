// The viewer: the link brings messages and frames, the picture draws, the input answers, the bars tell.

import { Bars } from '/bars.js';
import { Dialogs } from '/dialogs.js';
import { Figures } from '/figures.js';
import { Input } from '/input.js';
import { Link } from '/link.js';
import { Picture, pngOf, readHeader } from '/picture.js';

/** Milliseconds of rest before a new size is told: each one makes Chromium lay the page out again. */
const RESIZE_REST = 120;
const TOAST_TIME = 5000;
const WORDS = { connecting: 'Connecting', live: 'Live', reconnecting: 'Reconnecting', ended: 'Ended' };

const element = (selector) => document.querySelector(selector);
const stage = element('.stage');
const session = { welcome: null, state: '', wantsPicture: false, unseen: null };

// What a person is told

function setLink(state, reason = '') {
  document.body.dataset.link = state;
  element('.status .word').textContent = WORDS[state];
  element('.ribbon').hidden = state !== 'reconnecting';
  element('.ribbon .text').textContent = reason ? `Reconnecting: ${reason}` : 'Reconnecting';
  if (state === 'live' || state === 'reconnecting') element('.veil').hidden = true;
  bars.allow();
}

function veil(title, reason, hint = '', canRetry = false) {
  element('.veil').hidden = false;
  element('.veil h1').textContent = title;
  element('.veil .reason').textContent = reason;
  element('.veil .hint').textContent = hint;
  element('.veil .again').hidden = !canRetry;
}

function end(title, reason, hint) {
  link.end();
  dialogs.dismiss();
  document.body.classList.remove('loading');
  setLink('ended');
  veil(title, reason, hint);
}

function say(text) {
  const toast = document.createElement('div');
  toast.className = 'toast';
  toast.textContent = text;
  element('.toasts').append(toast);
  if (element('.toasts').children.length > 3) element('.toasts').firstChild.remove();
  setTimeout(() => toast.remove(), TOAST_TIME);
}

const isLive = () => document.body.dataset.link === 'live';
const isViewer = () => session.welcome?.role === 'view';
const mayAct = () => isLive() && !isViewer();

// What the node says

const heard = {
  viewer({ title }) {
    bars.title = String(title);
    bars.showTitle();
  },
  welcome(message) {
    session.welcome = message;
    document.body.classList.toggle('view-only', isViewer());
    element('.badge').hidden = !isViewer();
    figures.reset();
    session.size = size();
    link.send({ type: 'hello', viewport: session.size });
    if (picture.hasFrame) setLink('live');
    else veil('Opening the browser', `${message.node} in ${message.region}`);
    figures.ping();
  },
  state({ state, reason }) {
    session.state = state;
    if (state === 'closed' || state === 'failed') {
      end(state === 'failed' ? 'The session failed' : 'The session has ended', reason);
    } else if (state === 'starting' && !picture.hasFrame) {
      veil('Starting a browser', reason);
    } else if (state === 'closing') {
      say(reason || 'The session is closing.');
    }
  },
  tabs({ tabs }) {
    if (Array.isArray(tabs)) bars.setTabs(tabs);
  },
  loading: (message) => bars.setLoading(message),
  dialog(message) {
    input.release();
    dialogs.show(message, bars.active?.url ?? '', !isViewer());
  },
  dialog_gone: () => dialogs.dismiss(),
  saved({ generation, bytes }) {
    say(`Profile saved (generation ${generation}, ${Math.ceil(bytes / 1000)} KB).`);
  },
  failed({ message }) {
    session.wantsPicture = false;
    say(String(message));
  },
  bye({ reason, saving }) {
    end('The session has ended', reason, saving ? 'The profile is being saved.' : '');
  },
  pong: (message) => figures.pong(message),
  link_lost({ reason }) {
    input.release();
    setLink('reconnecting', reason);
  },
  link_back() {
    if (picture.hasFrame) setLink('live');
  },
  link_ended({ reason }) {
    end('The session has ended', reason);
  },
};

const link = new Link({
  open() {},
  message(message) {
    if (Object.hasOwn(heard, message.type)) heard[message.type](message);
  },
  media(buffer) {
    const header = readHeader(buffer);
    if (header?.isFrame) picture.take(header, buffer);
    else if (header && session.wantsPicture) savePicture(buffer);
  },
  broken() {
    dialogs.dismiss();
    if (picture.hasFrame) setLink('reconnecting', 'cbrowse does not answer');
  },
  gone() {
    setLink('ended');
    veil('cbrowse is not running any more', 'The process that brought the pictures has ended.', '', true);
  },
});

// The parts

const picture = new Picture(element('canvas'), stage, (sequence, length, isDrawn) => {
  // Nobody sees a hidden page; without its word no more frames are made for it.
  if (document.hidden) session.unseen = sequence;
  else link.send({ type: 'shown', sequence });
  if (!isDrawn) return;
  figures.frame(length);
  const isUp = document.body.dataset.link === 'connecting' || (document.body.dataset.link === 'ended' && !link.ended);
  if (isUp) setLink('live');
});

const bars = new Bars({ send: (message) => mayAct() && link.send(message), mayAct, say, toPage: () => input.focus() });

const dialogs = new Dialogs(({ accept, text }) => {
  link.send({ type: 'dialog_answer', accept, text });
  setTimeout(() => input.focus());
});

const figures = new Figures({ send: (message) => link.send(message), about });

const input = new Input(picture, element('.sink'), {
  send: (message) => link.send(message),
  waiting: () => link.waiting,
  mayAct,
  acted: () => figures.act(),
  shortcut,
  say,
});

function about() {
  const { width, height } = picture.canvas;
  const { node, region, browser_version: version } = session.welcome ?? {};
  return [
    ['Picture', picture.hasFrame ? `${width} × ${height}` : '–'],
    ...(picture.bad ? [['Unreadable frames', String(picture.bad)]] : []),
    ['Node', node ?? '–'],
    ['Region', region ?? '–'],
    ['Browser', version ?? '–'],
  ];
}

/** Keys that belong to the viewer while the page has the keyboard. */
function shortcut(event) {
  const isCommand = (event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey;
  const isAlone = !event.ctrlKey && !event.metaKey && !event.altKey && !event.shiftKey;
  if (event.key === 'F11' && isAlone) return true;
  const isAddress = (event.key === 'F6' && isAlone) || (isCommand && event.key.toLowerCase() === 'l');
  const step = stepOf(event, isAlone, isCommand);
  if (!isAddress && !step) return false;
  event.preventDefault();
  if (isAddress) bars.toAddress();
  else if (mayAct()) link.send({ type: 'history', step });
  return true;
}

function stepOf(event, isAlone, isCommand) {
  const isAlt = event.altKey && !event.ctrlKey && !event.metaKey && !event.shiftKey;
  if (isAlt && event.key === 'ArrowLeft') return 'back';
  if (isAlt && event.key === 'ArrowRight') return 'forward';
  return (isAlone && event.key === 'F5') || (isCommand && event.key.toLowerCase() === 'r') ? 'reload' : null;
}

// Size

function size() {
  return {
    width: Math.max(16, Math.min(8192, stage.clientWidth)),
    height: Math.max(16, Math.min(8192, stage.clientHeight)),
    scale: Math.min(4, Math.max(0.5, devicePixelRatio)),
  };
}

let resting = 0;
function resized() {
  picture.place();
  clearTimeout(resting);
  resting = setTimeout(() => {
    const now = size();
    if (!session.welcome || JSON.stringify(now) === JSON.stringify(session.size)) return;
    session.size = now;
    link.send({ type: 'resize', viewport: now });
  }, RESIZE_REST);
}
new ResizeObserver(resized).observe(stage);
// Moving to a screen of other density changes no box in CSS pixels.
(function watchDensity() {
  matchMedia(`(resolution: ${devicePixelRatio}dppx)`).addEventListener('change', () => { resized(); watchDensity(); }, { once: true });
})();

document.addEventListener('visibilitychange', () => {
  if (document.hidden || session.unseen === null) return;
  link.send({ type: 'shown', sequence: session.unseen });
  session.unseen = null;
});

// Buttons

element('.picture').onclick = () => {
  session.wantsPicture = true;
  link.send({ type: 'screenshot', full_page: false });
};

function savePicture(buffer) {
  session.wantsPicture = false;
  const file = pngOf(buffer);
  if (!file) return say('The node sent no readable picture.');
  const anchor = document.createElement('a');
  anchor.href = URL.createObjectURL(file);
  anchor.download = `cbrowse-${new Date().toISOString().slice(0, 19).replaceAll(':', '-')}.png`;
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(anchor.href), 10_000);
}

element('.full').onclick = async () => {
  await document.documentElement.requestFullscreen();
  // In full screen all keys can go to the page; holding Escape leaves it. Not every browser can.
  await navigator.keyboard?.lock?.().catch(() => {});
  input.focus();
};

element('.again').onclick = () => {
  setLink('connecting');
  veil('Connecting', '');
  link.retry();
};

addEventListener('keydown', (event) => {
  if (event.key !== 'F6' || event.defaultPrevented) return;
  event.preventDefault();
  input.focus();
});

setLink('connecting');
veil('Connecting', '');
