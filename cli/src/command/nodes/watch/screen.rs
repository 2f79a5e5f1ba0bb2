//! A block of lines that is drawn again where it stands, below whatever the terminal showed before.

use std::io::IsTerminal as _;

use cbrowse_protocol::node::is_unprintable;
use terminal_size::{Height, Width, terminal_size};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::{
    failure::Failure,
    output::{Output, Style},
};

/// What a terminal that does not tell its size is taken for.
const USUAL: Size = Size { columns: 80, rows: 24 };
const HIDE_CURSOR: &[u8] = b"\x1b[?25l";
/// Also clears what the terminal echoed of Ctrl-C.
const SHOW_CURSOR: &[u8] = b"\r\x1b[K\x1b[?25h";

/// A line and how it stands out.
pub(super) type Line = (Option<Style>, String);

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

    /// Replaces what stands there. Lines that are too long are cut.
    pub(super) fn draw(&mut self, lines: impl FnOnce(Size) -> Vec<Line>) -> Result<(), Failure> {
        let size = size();
        let lines: Vec<Line> =
            lines(size).into_iter().map(|(style, text)| (style, cut(&text, size.columns))).collect();
        let mut text = back(&self.drawn, size);
        for (style, line) in &lines {
            match style {
                Some(style) => text.push_str(&self.output.styled(*style, line).to_string()),
                None => text.push_str(line),
            }
            text.push_str("\x1b[K\r\n");
        }
        text.push_str("\x1b[J");
        self.drawn = lines.iter().map(|(_, line)| line.width()).collect();
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

/// What fits in one row, less the last column, where some terminals would break the line. Whatever could drive the
/// terminal ends here.
fn cut(text: &str, columns: usize) -> String {
    let room = columns.saturating_sub(1);
    let safe = |character| if is_unprintable(character) { '\u{fffd}' } else { character };
    let text: String = text.chars().map(safe).collect();
    if text.width() <= room {
        return text;
    }
    let (mut kept, mut width) = (String::new(), 1);
    for character in text.chars() {
        width += character.width().unwrap_or(0);
        if width > room {
            break;
        }
        kept.push(character);
    }
    if room > 0 {
        kept.push('…');
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_fit_their_row_and_drive_nothing() {
        assert_eq!(cut("12345678", 9), "12345678");
        assert_eq!(cut("123456789", 9), "1234567…");
        assert_eq!(cut("日本語日本", 9), "日本語…", "of two columns each");
        assert_eq!(cut("a\u{1b}[2Jb", 20), "a\u{fffd}[2Jb");
        assert_eq!((cut("abc", 1), cut("abc", 2)), (String::new(), "…".into()));
    }

    #[test]
    fn drawing_begins_where_it_began_before() {
        let size = |columns, rows| Size { columns, rows };
        assert_eq!(back(&[], size(80, 24)), "\r");
        assert_eq!(back(&[10, 0, 79], size(80, 24)), "\r\x1b[3A");
        assert_eq!(back(&[10, 0, 79], size(40, 24)), "\r\x1b[4A", "one of them is broken in two");
        assert_eq!(back(&[10; 30], size(80, 24)), "\r\x1b[23A", "no further than the first row");
    }
}
