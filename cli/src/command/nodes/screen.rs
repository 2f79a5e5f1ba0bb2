//! A block of lines that is drawn again where it stands, below whatever the terminal showed before.

use std::io::IsTerminal as _;

use terminal_size::{Height, Width, terminal_size};

use crate::{
    failure::Failure,
    output::{Output, line::Line},
};

/// What a terminal that does not tell its size is taken for.
const USUAL: Size = Size { columns: 80, rows: 24 };
const HIDE_CURSOR: &[u8] = b"\x1b[?25l";
/// Also clears what the terminal echoed of Ctrl-C.
const SHOW_CURSOR: &[u8] = b"\r\x1b[K\x1b[?25h";

/// Of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) columns: usize,
    pub(super) rows: usize,
}

/// A terminal. The cursor is hidden while this lives.
pub(super) struct Screen<'a> {
    output: &'a Output,
    /// Widths of the lines that stand there.
    drawn: Vec<usize>,
}

impl<'a> Screen<'a> {
    /// `None` where standard output is no terminal that can be drawn on, or a program reads it.
    pub(super) fn open(output: &'a Output) -> Option<Self> {
        let is_dumb = std::env::var_os("TERM").is_none_or(|value| value.is_empty() || value == "dumb");
        if output.is_json() || is_dumb || !std::io::stdout().is_terminal() {
            return None;
        }
        output.print_bytes(HIDE_CURSOR).ok()?;
        Some(Self { output, drawn: Vec::new() })
    }

    /// Replaces what stands there. Lines that are too long are cut, before the last column: some terminals would break the
    /// line there.
    pub(super) fn draw<L: Into<Line>>(&mut self, lines: impl FnOnce(Size) -> Vec<L>) -> Result<(), Failure> {
        let size = size();
        let room = size.columns.saturating_sub(1);
        let lines: Vec<Line> = lines(size).into_iter().map(|line| line.into().cut(room)).collect();
        let mut text = back(&self.drawn, size);
        for line in &lines {
            text.push_str(&line.render(self.output));
            text.push_str("\x1b[K\r\n");
        }
        text.push_str("\x1b[J");
        self.drawn = lines.iter().map(Line::width).collect();
        self.output.print_bytes(text.as_bytes())
    }
}

impl Drop for Screen<'_> {
    fn drop(&mut self) {
        // A terminal that is gone needs no cursor.
        let _ = self.output.print_bytes(SHOW_CURSOR);
    }
}

fn size() -> Size {
    let told = terminal_size().filter(|(Width(columns), Height(rows))| *columns > 0 && *rows > 0);
    told.map_or(USUAL, |(columns, rows)| Size { columns: columns.0.into(), rows: rows.0.into() })
}

/// To the beginning of what stands there. A terminal that became narrower has broken long lines, and one that became
/// lower shows only the last.
fn back(drawn: &[usize], size: Size) -> String {
    let rows: usize = drawn.iter().map(|width| width.div_ceil(size.columns).max(1)).sum();
    match rows.min(size.rows - 1) {
        0 => "\r".to_owned(),
        rows => format!("\r\x1b[{rows}A"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawing_begins_where_it_began_before() {
        let size = |columns, rows| Size { columns, rows };
        assert_eq!(back(&[], size(80, 24)), "\r");
        assert_eq!(back(&[10, 0, 79], size(80, 24)), "\r\x1b[3A");
        assert_eq!(back(&[10, 0, 79], size(40, 24)), "\r\x1b[4A", "one of them is broken in two");
        assert_eq!(back(&[10; 30], size(80, 24)), "\r\x1b[23A", "no further than the first row");
    }
}
