// Input turns what a person does over the picture into wire messages, in the order in which it was done.

const BUTTONS = ['left', 'middle', 'right', 'back', 'forward'];
/** Moves are skipped while this many bytes wait: an old position is worth nothing. */
const MAX_WAITING = 64 * 1024;
/** Characters of one `text` message; each takes at most six bytes as JSON, and a message 256 KiB. */
const TEXT_PART = 32 * 1024;
const MAX_PASTE = 1024 * 1024;
/** CSS pixels of one wheel line, as Chromium scrolls three lines by about a hundred. */
const LINE = 33;

/** Alt 1, Ctrl 2, Meta 4, Shift 8. AltGr makes a character and is no shortcut. */
export function modifiers(event) {
  const graph = event.getModifierState?.('AltGraph') ?? false;
  return (event.altKey && !graph ? 1 : 0) + (event.ctrlKey && !graph ? 2 : 0) + (event.metaKey ? 4 : 0) + (event.shiftKey ? 8 : 0);
}

/** The text in parts that each fit a message; a surrogate pair stays whole. */
export function* parts(text) {
  let start = 0;
  while (start < text.length) {
    let end = Math.min(start + TEXT_PART, text.length);
    const isHigh = (text.charCodeAt(end - 1) & 0xfc00) === 0xd800;
    if (end < text.length && isHigh) end -= 1;
    yield text.slice(start, end);
    start = end;
  }
}

export class Input {
  /**
   * `to` has `send(message)`, `waiting()`, `mayAct()`, `acted()`, `shortcut(event)` (true where it took the key) and
   * `say(text)`.
   */
  constructor(picture, sink, to) {
    Object.assign(this, { picture, sink, to });
    this.move = null;
    this.wheel = null;
    this.held = new Map();
    this.buttons = 0;
    this.copiedThere = false;
    this.listenToPointer(picture.canvas);
    this.listenToKeys(sink);
    addEventListener('blur', () => {
      this.release();
      this.copiedThere = false;
    });
  }

  // Pointer

  listenToPointer(canvas) {
    canvas.addEventListener('pointerdown', (event) => canvas.setPointerCapture(event.pointerId));
    canvas.addEventListener('mousedown', (event) => {
      event.preventDefault();
      this.focus(event);
      this.press('down', event);
    });
    canvas.addEventListener('mouseup', (event) => {
      event.preventDefault();
      this.press('up', event);
    });
    canvas.addEventListener('mousemove', (event) => this.moved(event));
    canvas.addEventListener('wheel', (event) => this.wheeled(event), { passive: false });
    for (const kind of ['contextmenu', 'auxclick', 'dragstart']) {
      canvas.addEventListener(kind, (event) => event.preventDefault());
    }
  }

  /** The keyboard follows the pointer; the sink stands there, so that a composition window opens beside the caret. */
  focus(event) {
    if (event) {
      const box = this.picture.stage.getBoundingClientRect();
      this.sink.style.left = `${event.clientX - box.left}px`;
      this.sink.style.top = `${event.clientY - box.top}px`;
    }
    this.sink.focus({ preventScroll: true });
  }

  press(kind, event) {
    if (!this.ready()) return;
    this.flush();
    this.buttons = event.buttons;
    this.to.send({
      type: 'mouse',
      kind,
      ...this.picture.toPage(event),
      button: BUTTONS[event.button] ?? 'none',
      buttons: event.buttons & 31,
      clicks: Math.min(event.detail, 255),
      modifiers: modifiers(event),
    });
    this.to.acted();
  }

  moved(event) {
    if (!this.ready() || this.to.waiting() > MAX_WAITING) return;
    this.schedule();
    this.move = {
      type: 'mouse',
      kind: 'move',
      ...this.picture.toPage(event),
      button: heldButton(event.buttons),
      buttons: event.buttons & 31,
      clicks: 0,
      modifiers: modifiers(event),
    };
  }

  wheeled(event) {
    event.preventDefault();
    if (!this.ready()) return;
    const unit = [1, LINE, this.picture.css.height][event.deltaMode] ?? 1;
    const bits = modifiers(event);
    if (this.wheel && this.wheel.modifiers !== bits) this.flush();
    this.schedule();
    const { dx = 0, dy = 0 } = this.wheel ?? {};
    this.wheel = {
      type: 'wheel',
      ...this.picture.toPage(event),
      dx: dx + event.deltaX * unit,
      dy: dy + event.deltaY * unit,
      modifiers: bits,
    };
  }

  /** Moves and wheel turns leave once a picture of this screen, or before the next press or key. */
  schedule() {
    if (this.move || this.wheel) return;
    requestAnimationFrame(() => this.flush());
  }

  flush() {
    const { move, wheel } = this;
    this.move = this.wheel = null;
    if (move) this.to.send(move);
    if (wheel) {
      this.to.send(wheel);
      this.to.acted();
    }
  }

  // Keys

  listenToKeys(sink) {
    sink.addEventListener('keydown', (event) => this.keyDown(event));
    sink.addEventListener('keyup', (event) => this.keyUp(event));
    sink.addEventListener('blur', () => this.release());
    sink.addEventListener('paste', (event) => {
      event.preventDefault();
      this.paste(event.clipboardData?.getData('text/plain') ?? '');
    });
    sink.addEventListener('compositionend', (event) => {
      this.text(event.data ?? '');
      sink.value = '';
    });
    sink.addEventListener('input', (event) => this.inserted(event));
  }

  keyDown(event) {
    const isComposed = event.isComposing || event.keyCode === 229 || event.key === 'Dead' || event.key === 'Process';
    if (isComposed || this.to.shortcut(event) || this.bringsText(event)) return;
    event.preventDefault();
    if (!this.ready()) return;
    const isCopy = (event.ctrlKey || event.metaKey) && ['c', 'x'].includes(event.key.toLowerCase());
    if (isCopy) this.copiedThere = true;
    this.held.set(event.code || event.key, event.key);
    this.key('down', event.key, event.code, modifiers(event), event.repeat);
    this.to.acted();
  }

  keyUp(event) {
    const name = event.code || event.key;
    if (event.isComposing || !this.held.delete(name)) return;
    event.preventDefault();
    this.key('up', event.key, event.code, modifiers(event), false);
    // While Meta is held macOS tells of no other key's end.
    if (event.key === 'Meta') this.release();
  }

  /** Pasting here inserts this machine's text, unless the last copy was made in the remote page. */
  bringsText(event) {
    if (this.copiedThere) return false;
    const isPaste = (event.ctrlKey || event.metaKey) && !event.altKey && event.key.toLowerCase() === 'v';
    return isPaste || (event.shiftKey && event.key === 'Insert');
  }

  key(kind, key, code, bits, repeat) {
    this.flush();
    this.to.send({ type: 'key', kind, key, code, modifiers: bits, repeat });
  }

  /** Text that came without a key: an emoji picker, a screen keyboard, dictation. A composition sends its own. */
  inserted(event) {
    if (event.isComposing) return;
    if (!/composition/i.test(event.inputType)) this.text(this.sink.value);
    this.sink.value = '';
  }

  paste(text) {
    if (text.length > MAX_PASTE) this.to.say(`The clipboard holds more than ${MAX_PASTE / 1024} K characters; nothing was pasted.`);
    else this.text(text.replaceAll('\r\n', '\n'));
  }

  text(text) {
    if (!text || !this.ready()) return;
    this.flush();
    for (const part of parts(text)) this.to.send({ type: 'text', text: part });
    this.to.acted();
  }

  /** Nothing stays pressed there when the person has turned away here. */
  release() {
    for (const [code, key] of this.held) this.key('up', key, code, 0, false);
    this.held.clear();
  }

  ready() {
    return this.picture.hasFrame && this.to.mayAct();
  }
}

/** The name of the lowest held button of a `MouseEvent.buttons`; there, right comes before middle. */
function heldButton(buttons) {
  return ['left', 'right', 'middle', 'back', 'forward'].find((_, bit) => buttons & (1 << bit)) ?? 'none';
}
