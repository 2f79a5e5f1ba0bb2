// The link is one WebSocket to the process that serves this page; when it breaks it is opened again, for a while.

const PROTOCOL = 'cbrowse.v1';
/** Attempts before the process counts as gone; together about six seconds. */
const MAX_ATTEMPTS = 7;
const FIRST_PAUSE = 150;
const LONGEST_PAUSE = 1500;

export class Link {
  /** `on` has `message(object)`, `media(ArrayBuffer)`, `open()`, `broken()`, `gone()`. */
  constructor(on) {
    this.on = on;
    this.attempts = 0;
    this.ended = false;
    this.open();
  }

  open() {
    const socket = new WebSocket(`ws://${location.host}/socket`, PROTOCOL);
    socket.binaryType = 'arraybuffer';
    socket.onopen = () => this.on.open();
    socket.onmessage = ({ data }) => {
      this.attempts = 0;
      if (typeof data !== 'string') return this.on.media(data);
      const message = parse(data);
      if (message) this.on.message(message);
    };
    socket.onclose = () => this.again();
    this.socket = socket;
  }

  again() {
    if (this.ended) return;
    if (this.attempts >= MAX_ATTEMPTS) return this.on.gone();
    if (this.attempts === 0) this.on.broken();
    const pause = Math.min(FIRST_PAUSE * 2 ** this.attempts, LONGEST_PAUSE);
    this.attempts += 1;
    setTimeout(() => this.open(), pause);
  }

  /** A person asks for another round of attempts. */
  retry() {
    this.attempts = 0;
    this.open();
  }

  /** Nothing more is expected. */
  end() {
    this.ended = true;
  }

  /** Bytes that wait to be sent. */
  get waiting() {
    return this.socket.bufferedAmount;
  }

  send(message) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }
}

function parse(text) {
  try {
    const message = JSON.parse(text);
    return typeof message?.type === 'string' ? message : null;
  } catch {
    return null;
  }
}
