//! What moves on standard error while a person waits.

use std::{
    borrow::Cow,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use cbrowse_profile::meter::{Meter, Reading};
use indicatif::{ProgressBar, ProgressState, ProgressStyle};

use super::Output;

/// What takes less is not drawn: it would only flicker.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often a meter moves: slower looks stuck, faster costs a slow terminal.
const METER_TICK: Duration = Duration::from_millis(120);

impl Output {
    /// A bar on standard error up to `length`, if a person watches; it is gone when dropped.
    pub fn progress(&self, length: usize, message: &'static str) -> Progress {
        self.bar(length, message, "{msg} {bar:24} {pos}/{len}")
    }

    /// The same for a search: beside the bar the time, and what was found so far.
    pub fn search(&self, length: usize, message: &'static str) -> Progress {
        let progress = self.bar(length, "", "{prefix} {bar:20} {pos}/{len}  {took}  {wide_msg}");
        if let Some(bar) = &progress.0 {
            bar.set_prefix(message);
            bar.enable_steady_tick(METER_TICK);
        }
        progress
    }

    /// For whoever is drawn otherwise.
    pub fn silent(&self) -> Progress {
        Progress(None)
    }

    fn bar(&self, length: usize, message: &'static str, template: &str) -> Progress {
        if !self.draws_progress() || length == 0 {
            return Progress(None);
        }
        let bar = ProgressBar::new(length as u64).with_message(message);
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let chars = if self.is_unicode() { "█░" } else { "#-" };
        bar.set_style(style.progress_chars(chars).with_key("took", took));
        bar.tick();
        Progress(Some(bar))
    }

    /// Draws `meter` on standard error from half a second on, if a person watches: bytes, files, rate and remaining time.
    /// It is gone when dropped.
    pub fn follow(&self, message: &'static str, meter: Arc<Meter>) -> Followed {
        let (stop, stopped) = mpsc::channel();
        let drawing = self.draws_progress().then(|| {
            let chars = if self.is_unicode() { "█░" } else { "#-" };
            thread::spawn(move || draw(message, &meter, chars, &stopped))
        });
        Followed { stop: Some(stop), drawing }
    }
}

fn draw(message: &'static str, meter: &Meter, chars: &str, stopped: &mpsc::Receiver<()>) {
    let is_over = |wait| !matches!(stopped.recv_timeout(wait), Err(mpsc::RecvTimeoutError::Timeout));
    if is_over(PATIENCE) {
        return;
    }
    let bar = ProgressBar::no_length();
    let template =
        "{prefix} {bar:20} {decimal_bytes}/{decimal_total_bytes} {msg}  {decimal_bytes_per_sec}  {eta} left";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style.progress_chars(chars));
    bar.set_prefix(message);
    loop {
        let Reading { files, bytes, all_files, all_bytes } = meter.read();
        bar.set_length(all_bytes.max(bytes));
        bar.set_position(bytes);
        if all_files > 0 {
            bar.set_message(format!("{files}/{all_files} files"));
        }
        bar.tick();
        if is_over(METER_TICK) {
            break;
        }
    }
    bar.finish_and_clear();
}

/// What draws a meter; see [`Output::follow`].
#[derive(Debug)]
pub struct Followed {
    stop: Option<mpsc::Sender<()>>,
    drawing: Option<thread::JoinHandle<()>>,
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(drawing) = self.drawing.take() {
            // A terminal that is gone is no reason to fail.
            let _drawn = drawing.join();
        }
    }
}

fn took(state: &ProgressState, text: &mut dyn std::fmt::Write) {
    // A terminal that is gone needs no time.
    let _ = write!(text, "{:.1} s", state.elapsed().as_secs_f64());
}

/// A progress bar, or none; see [`Output::progress`].
#[derive(Debug)]
pub struct Progress(Option<ProgressBar>);

impl Progress {
    /// How far things are.
    pub fn at(&self, position: usize) {
        if let Some(bar) = &self.0 {
            bar.set_position(position as u64);
        }
    }

    /// What is being done now.
    pub fn message(&self, message: impl Into<Cow<'static, str>>) {
        if let Some(bar) = &self.0 {
            bar.set_message(message);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
