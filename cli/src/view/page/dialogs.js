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
    this.box.addEventListener('cancel', (event) => {
      event.preventDefault();
      // An alert has one way out.
      this.close(this.kind === 'alert');
    });
    this.box.querySelector('form').addEventListener('submit', (event) => {
      event.preventDefault();
      this.close(true);
    });
    this.box.querySelector('.refuse').onclick = () => this.close(false);
  }

  /** Shows it; `mayAnswer` is false for one who only looks on. */
  show({ kind, message, default: preset }, url, mayAnswer) {
    const labels = LABELS[kind] ?? LABELS.confirm;
    this.kind = kind;
    this.mayAnswer = mayAnswer;
    const host = dissect(url).host || 'The page';
    element('#asked-who').textContent = kind === 'beforeunload' ? 'Leave this page?' : `${host} says`;
    element('#asked-what').textContent =
      kind === 'beforeunload' ? 'What you entered may not be saved.' : String(message).slice(0, MAX_MESSAGE);
    this.field.hidden = kind !== 'prompt';
    this.field.value = kind === 'prompt' ? String(preset ?? '') : '';
    this.field.disabled = !mayAnswer;
    this.label('.accept', labels.accept);
    this.label('.refuse', labels.refuse);
    if (!this.box.open) this.box.showModal();
    (kind === 'prompt' ? this.field : this.box.querySelector('.accept')).focus();
    if (kind === 'prompt') this.field.select();
  }

  label(selector, text) {
    const button = this.box.querySelector(selector);
    button.hidden = !text;
    button.textContent = text ?? '';
    button.disabled = !this.mayAnswer;
  }

  close(accept) {
    if (!this.box.open || !this.mayAnswer) return;
    this.dismiss();
    this.answer({ accept, text: accept && this.kind === 'prompt' ? this.field.value : '' });
  }

  /** Takes it away without an answer: someone else gave one. */
  dismiss() {
    if (this.box.open) this.box.close();
  }
}
