// A dialog is what the remote page asks; it is drawn here, in plain text, under the name of the page that asks.

import { dissect } from '/bars.js';

/** Characters of a message that are shown. */
const MAX_MESSAGE = 10_000;
const LABELS = {
  alert: { accept: 'OK' },
  confirm: { accept: 'OK', refuse: 'Cancel' },
  prompt: { accept: 'OK', refuse: 'Cancel' },
  beforeunload: { accept: 'Leave', refuse: 'Stay' },
};

const element = (selector) => document.querySelector(selector);

export class Dialogs {
  /** `answer({accept, text})` is called once for each dialog. */
  constructor(answer) {
    this.answer = answer;
    this.box = element('.asked');
    this.field = this.box.querySelector('input');
    this.kind = '';
    this.isOpen = false;
    this.box.addEventListener('cancel', (event) => {
      event.preventDefault();
      // An alert has one way out.
      this.close(this.kind === 'alert');
    });
    this.box.querySelector('form').addEventListener('submit', (event) => {
      event.preventDefault();
      this.close(true);
    });
    // Browsers close a dialog on a second Escape whatever the page says; the remote page must not wait for ever.
    this.box.addEventListener('close', () => this.finish(this.kind === 'alert'));
    this.box.querySelector('.refuse').onclick = () => this.close(false);
  }

  /** Shows it; `mayAnswer` is false for one who only looks on. */
  show({ kind, message, default: preset }, url, mayAnswer) {
    const labels = LABELS[kind] ?? LABELS.confirm;
    this.kind = kind;
    this.mayAnswer = mayAnswer;
    this.isOpen = true;
    const host = dissect(url).host || 'The page';
    element('#asked-who').textContent = kind === 'beforeunload' ? 'Leave this page?' : `${host} says`;
    element('#asked-what').textContent =
      kind === 'beforeunload' ? 'What you entered may not be saved.' : String(message).slice(0, MAX_MESSAGE);
    this.field.hidden = kind !== 'prompt';
    this.field.value = kind === 'prompt' ? String(preset ?? '') : '';
    this.field.readOnly = !mayAnswer;
    this.label('.accept', labels.accept);
    this.label('.refuse', labels.refuse);
    element('.wait').hidden = mayAnswer;
    if (!this.box.open) this.box.showModal();
    if (kind === 'prompt') this.field.select();
    else this.box.querySelector('.accept').focus();
  }

  label(selector, text) {
    const button = this.box.querySelector(selector);
    button.hidden = !text || !this.mayAnswer;
    button.textContent = text ?? '';
  }

  close(accept) {
    if (!this.mayAnswer) return;
    this.finish(accept);
    this.box.close();
  }

  finish(accept) {
    if (!this.isOpen || !this.mayAnswer) return;
    this.isOpen = false;
    this.answer({ accept, text: accept && this.kind === 'prompt' ? this.field.value : '' });
  }

  /** Takes it away without an answer: someone else gave one. */
  dismiss() {
    this.isOpen = false;
    if (this.box.open) this.box.close();
  }
}
