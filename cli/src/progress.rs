//! Progress of long work, on standard error, only where a person watches.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::Output;

/// Objects of a profile on their way; hidden where nobody would see it.
pub fn objects(output: &Output) -> ProgressBar {
    bar(output, "sending profile [{bar:24}] {pos}/{len} objects, {eta} left")
}

fn bar(output: &Output, template: &str) -> ProgressBar {
    let bar = ProgressBar::new(0);
    if !output.draws_progress() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("━╸─"));
    }
    bar
}
