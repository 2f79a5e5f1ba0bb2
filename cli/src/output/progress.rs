//! What moves on standard error while a person waits.

use std::{
    borrow::Cow,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use cbrowse_profile::meter::{Meter, Reading};
use indicatif::{ProgressBar, ProgressState, ProgressStyle};

use super::Output;
use crate::words::size;

/// What takes less is not drawn: it would only flicker.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often a meter moves: slower looks stuck, faster costs a slow terminal.
const METER_TICK: Duration = Duration::from_millis(120);
/// What a full bar stands for: finer than the columns of any bar.
const WHOLE: u64 = 1000;

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

    /// Draws `meter`, which counts `nouns` such as files, on standard error from half a second on, if a person watches: bytes,
    /// how many, rate and remaining time. It is gone when dropped.
    pub fn follow(&self, message: &'static str, nouns: &'static str, meter: Arc<Meter>) -> Followed {
        let (stop, stopped) = mpsc::channel();
        let drawing = self.draws_progress().then(|| {
            let chars = if self.is_unicode() { "█░" } else { "#-" };
            thread::spawn(move || draw(message, nouns, &meter, chars, &stopped))
        });
        Followed { stop: Some(stop), drawing }
    }
}

fn draw(message: &'static str, nouns: &str, meter: &Meter, chars: &str, stopped: &mpsc::Receiver<()>) {
    let begun = Instant::now();
    let is_over = |wait| !matches!(stopped.recv_timeout(wait), Err(mpsc::RecvTimeoutError::Timeout));
    if is_over(PATIENCE) {
        return;
    }
    let bar = ProgressBar::new(WHOLE);
    let style = ProgressStyle::with_template("{prefix} {bar:12} {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style.progress_chars(chars));
    bar.set_prefix(message);
    loop {
        let reading = meter.read();
        bar.set_position(share(&reading));
        bar.set_message(figures(&reading, begun.elapsed(), nouns));
        bar.tick();
        if is_over(METER_TICK) {
            break;
        }
    }
    bar.finish_and_clear();
}

/// How much is done, of [`WHOLE`]: by bytes, or by files where nobody knows how long those are.
fn share(reading: &Reading) -> u64 {
    let (done, all) = match reading.all_bytes {
        0 => (reading.files, reading.all_files),
        all => (reading.bytes, all),
    };
    done.saturating_mul(WHOLE).checked_div(all).unwrap_or(0).min(WHOLE)
}

/// The figures beside the bar; with the longest message and the bar no longer than a line of 80 columns.
fn figures(reading: &Reading, elapsed: Duration, nouns: &str) -> String {
    let Reading { files, bytes, all_files, all_bytes } = *reading;
    let mut parts = vec![match all_bytes {
        0 => size(bytes),
        all => format!("{}/{}", size(bytes), size(all.max(bytes))),
    }];
    if all_files > 0 {
        parts.push(format!("{files}/{all_files} {nouns}"));
    }
    let milliseconds = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
    let rate = bytes.saturating_mul(1000) / milliseconds;
    parts.push(format!("{}/s", size(rate)));
    let left = all_bytes.saturating_sub(bytes);
    if left > 0 && rate > 0 {
        parts.push(format!("{} left", rounded(left.div_ceil(rate))));
    }
    parts.join("  ")
}

/// `9 s`, `5 min`, `3 h`.
fn rounded(seconds: u64) -> String {
    match seconds {
        0..=99 => format!("{seconds} s"),
        100..=5999 => format!("{} min", seconds.div_ceil(60)),
        _ => format!("{} h", seconds.div_ceil(3600)),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_whole_time_and_a_line_is_not_too_long() {
        let half = Reading { files: 4474, bytes: 230_000_000, all_files: 4709, all_bytes: 460_000_000 };
        let text = figures(&half, Duration::from_secs(2), "files");
        assert_eq!(text, "230.0 MB/460.0 MB  4474/4709 files  115.0 MB/s  2 s left");
        assert!("sealing ".len() + 13 + text.len() <= 80);
        assert_eq!(share(&half), 500);
    }

    #[test]
    fn what_is_not_known_is_not_guessed() {
        let unknown = Reading { files: 3, bytes: 9_000_000, all_files: 12, all_bytes: 0 };
        assert_eq!(figures(&unknown, Duration::from_secs(1), "objects"), "9.0 MB  3/12 objects  9.0 MB/s");
        assert_eq!(share(&unknown), 250, "by objects");
        assert_eq!(
            (share(&Reading::default()), share(&Reading { all_files: 0, files: 7, ..unknown })),
            (0, 0)
        );
        let more = Reading { bytes: 20, all_bytes: 10, ..unknown };
        assert_eq!(share(&more), WHOLE, "a file that grew");
        let stalled = Reading { bytes: 0, all_bytes: 10, ..unknown };
        assert_eq!(figures(&stalled, Duration::ZERO, "objects"), "0 B/10 B  3/12 objects  0 B/s");
    }

    #[test]
    fn remaining_time_is_told_in_one_unit() {
        let times = [(0, "0 s"), (99, "99 s"), (100, "2 min"), (5999, "100 min"), (6000, "2 h")];
        for (seconds, text) in times {
            assert_eq!(rounded(seconds), text);
        }
    }
}
