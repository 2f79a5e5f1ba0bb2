//! A line of text in parts, each with its own emphasis.

use cbrowse_protocol::node::is_unprintable;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::{Output, Style};

/// A line without its end. Its parts stand one after another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Line {
    parts: Vec<(Option<Style>, String)>,
}

impl Line {
    /// A line of one part.
    pub fn new(style: Option<Style>, text: impl Into<String>) -> Self {
        Self { parts: vec![(style, text.into())] }
    }

    /// Adds text; joined to the part before where that stands out the same way.
    pub fn push(&mut self, style: Option<Style>, text: &str) {
        match self.parts.last_mut() {
            Some((last, part)) if *last == style => part.push_str(text),
            _ => self.parts.push((style, text.to_owned())),
        }
    }

    /// Without blanks at its end.
    #[must_use]
    pub fn trim_end(mut self) -> Self {
        while let Some((_, part)) = self.parts.last_mut() {
            part.truncate(part.trim_end().len());
            if !part.is_empty() {
                break;
            }
            self.parts.pop();
        }
        self
    }

    /// In columns of a terminal.
    pub fn width(&self) -> usize {
        self.parts.iter().map(|(_, part)| part.width()).sum()
    }

    /// The text alone.
    pub fn text(&self) -> String {
        self.parts.iter().map(|(_, part)| part.as_str()).collect()
    }

    /// What fits in so many columns. Whatever could drive a terminal ends here.
    #[must_use]
    pub fn cut(mut self, columns: usize) -> Self {
        for (_, part) in &mut self.parts {
            *part = safe(part);
        }
        let mut room = columns;
        let mut kept = Self::default();
        let is_long = self.width() > columns;
        for (style, part) in self.parts {
            let reserved = usize::from(is_long);
            let text = cut(&part, room.saturating_sub(reserved));
            room -= text.width().min(room);
            let is_whole = text.width() == part.width();
            kept.push(style, &text);
            if !is_whole {
                break;
            }
        }
        if is_long && columns > 0 {
            let style = kept.parts.last().and_then(|(style, _)| *style);
            kept.push(style, "…");
        }
        kept
    }

    /// For standard output, styled when that is a terminal.
    pub fn render(&self, output: &Output) -> String {
        let styled = |(style, part): &(Option<Style>, String)| match style {
            Some(style) => output.styled(*style, part).to_string(),
            None => part.clone(),
        };
        self.parts.iter().map(styled).collect()
    }
}

impl From<(Option<Style>, String)> for Line {
    fn from((style, text): (Option<Style>, String)) -> Self {
        Self::new(style, text)
    }
}

fn safe(text: &str) -> String {
    text.chars().map(|character| if is_unprintable(character) { '\u{fffd}' } else { character }).collect()
}

/// As many characters from the front as fit in so many columns.
fn cut(text: &str, columns: usize) -> String {
    let mut width = 0;
    text.chars()
        .take_while(|character| {
            width += character.width().unwrap_or(0);
            width <= columns
        })
        .collect()
}

/// Text of a cell, at most so wide; what was left out is marked.
pub fn shortened(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    Line::new(None, text).cut(columns).text()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut_to(text: &str, columns: usize) -> String {
        Line::new(None, text).cut(columns).text()
    }

    #[test]
    fn lines_fit_their_row_and_drive_nothing() {
        assert_eq!(cut_to("12345678", 8), "12345678");
        assert_eq!(cut_to("123456789", 8), "1234567…");
        assert_eq!(cut_to("日本語日本", 8), "日本語…", "of two columns each");
        assert_eq!(cut_to("a\u{1b}[2Jb", 20), "a\u{fffd}[2Jb");
        assert_eq!((cut_to("abc", 0), cut_to("abc", 1)), (String::new(), "…".into()));
    }

    #[test]
    fn parts_are_cut_where_the_line_ends() {
        let mut line = Line::new(None, "abc");
        line.push(Some(Style::Good), "def");
        line.push(Some(Style::Good), "g");
        assert_eq!((line.width(), line.parts.len()), (7, 2));
        assert_eq!(line.clone().cut(7), line);
        assert_eq!(line.clone().cut(5).parts, [(None, "abc".into()), (Some(Style::Good), "d…".into())]);
        assert_eq!(line.cut(2).parts, [(None, "a…".into())]);
    }

    #[test]
    fn blanks_at_the_end_go_across_parts() {
        let mut line = Line::new(None, "a ");
        line.push(Some(Style::Good), "  ");
        assert_eq!(line.trim_end(), Line::new(None, "a"));
    }
}
