// The picture is the newest frame on a canvas; a frame is measured before it is decoded.

const HEADER_LENGTH = 28;
const VERSION = 1;
const FRAME = 1;
const SCREENSHOT = 2;
/** Longest message in bytes, widest side and most pixels. An 8K picture has 33 million; four bytes each are held. */
const MAX_LENGTH = 64 * 1024 * 1024;
const MAX_SIDE = 16384;
const MAX_PIXELS = 40_000_000;

/** The 28 bytes before a picture, or null where they are not such. */
export function readHeader(buffer) {
  if (buffer.byteLength <= HEADER_LENGTH || buffer.byteLength > MAX_LENGTH) return null;
  const view = new DataView(buffer);
  const kind = view.getUint8(1);
  if (view.getUint8(0) !== VERSION || (kind !== FRAME && kind !== SCREENSHOT)) return null;
  const word = (at) => view.getUint16(at, true);
  return {
    isFrame: kind === FRAME,
    sequence: view.getUint32(4, true),
    x: word(16),
    y: word(18),
    cssWidth: word(24),
    cssHeight: word(26),
  };
}

/** Width and height in a JPEG's frame header, or null; nothing is decoded. */
export function jpegSize(bytes) {
  if (bytes[0] !== 0xff || bytes[1] !== 0xd8) return null;
  let at = 2;
  while (at + 9 < bytes.length && bytes[at] === 0xff) {
    const marker = bytes[at + 1];
    if (marker === 0xff) {
      at += 1;
    } else if (marker >= 0xc0 && marker <= 0xc2) {
      return { height: bytes[at + 5] * 256 + bytes[at + 6], width: bytes[at + 7] * 256 + bytes[at + 8] };
    } else {
      at += 2 + bytes[at + 2] * 256 + bytes[at + 3];
    }
  }
  return null;
}

/** Whether the bytes begin as a PNG. */
export function isPng(bytes) {
  return [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a].every((byte, index) => bytes[index] === byte);
}

function isDrawable(size) {
  const { width, height } = size ?? { width: 0, height: 0 };
  return width > 0 && height > 0 && width <= MAX_SIDE && height <= MAX_SIDE && width * height <= MAX_PIXELS;
}

export class Picture {
  /** `shown(sequence)` is called for every frame, drawn or not, so that the next may come. */
  constructor(canvas, stage, shown) {
    this.canvas = canvas;
    this.stage = stage;
    this.shown = shown;
    this.context = canvas.getContext('2d', { alpha: false, desynchronized: true });
    this.css = { width: 0, height: 0 };
    this.waiting = null;
    this.busy = false;
    this.bad = 0;
  }

  get hasFrame() {
    return this.css.width > 0;
  }

  /** Takes a frame; one waits while one is decoded, and the newest wins. */
  take(header, buffer) {
    this.waiting = { header, buffer };
    if (!this.busy) this.work();
  }

  async work() {
    this.busy = true;
    while (this.waiting) {
      const { header, buffer } = this.waiting;
      this.waiting = null;
      const bytes = new Uint8Array(buffer, HEADER_LENGTH);
      const bitmap = await decode(header, bytes);
      if (bitmap) this.draw(header, bitmap);
      else this.bad += 1;
      this.shown(header.sequence, buffer.byteLength, bitmap !== null);
    }
    this.busy = false;
  }

  draw(header, bitmap) {
    const { canvas } = this;
    if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) {
      canvas.width = bitmap.width;
      canvas.height = bitmap.height;
    }
    this.context.drawImage(bitmap, 0, 0);
    bitmap.close();
    const width = header.cssWidth || canvas.width;
    const height = header.cssHeight || canvas.height;
    if (width !== this.css.width || height !== this.css.height) {
      this.css = { width, height };
      this.place();
    }
  }

  /** Fits the canvas into the stage: never larger than the page itself, in its middle when smaller. */
  place() {
    if (!this.hasFrame) return;
    const { clientWidth, clientHeight } = this.stage;
    const scale = Math.min(1, clientWidth / this.css.width, clientHeight / this.css.height);
    const { style } = this.canvas;
    style.width = `${this.css.width * scale}px`;
    style.height = `${this.css.height * scale}px`;
    style.left = `${Math.max(0, Math.round((clientWidth - this.css.width * scale) / 2))}px`;
    style.top = '0';
  }

  /** A pointer's place in CSS pixels of the remote page, inside it. */
  toPage(event) {
    const box = this.canvas.getBoundingClientRect();
    const scaled = (offset, shown, real) => Math.round(Math.min(Math.max(offset / shown, 0), 1) * real * 100) / 100;
    return {
      x: scaled(event.clientX - box.left, box.width || 1, this.css.width),
      y: scaled(event.clientY - box.top, box.height || 1, this.css.height),
    };
  }
}

async function decode(header, bytes) {
  const isWhole = header.x === 0 && header.y === 0;
  if (!isWhole || !isDrawable(jpegSize(bytes))) return null;
  try {
    return await createImageBitmap(new Blob([bytes], { type: 'image/jpeg' }));
  } catch {
    return null;
  }
}

/** Saves a screenshot's PNG as a file; null where it is none. */
export function pngOf(buffer) {
  const bytes = new Uint8Array(buffer, HEADER_LENGTH);
  return isPng(bytes) ? new Blob([bytes], { type: 'image/png' }) : null;
}
