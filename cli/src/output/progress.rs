//! What moves on standard error while a person waits.

use std::{borrow::Cow, time::Duration};

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

use super::Output;

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

    /// A count of bytes on standard error while they pass, if a person watches; it is gone when dropped.
    pub fn meter(&self, message: &'static str) -> Progress {
        if !self.draws_progress() {
            return Progress(None);
        }
        let bar = ProgressBar::new_spinner().with_message(message);
        let style = ProgressStyle::with_template("{spinner} {msg} {decimal_bytes} ({elapsed})");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        bar.enable_steady_tick(METER_TICK);
        Progress(Some(bar))
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
