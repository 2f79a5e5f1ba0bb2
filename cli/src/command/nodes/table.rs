//! A table for people: columns as wide as their widest cell, empty columns left out, fitted to a narrow terminal.

use unicode_width::UnicodeWidthStr as _;

use crate::output::{
    Output, Style,
    line::{Line, shortened},
};

/// Where a column's text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// One step towards a narrower table. Columns are named by their heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Narrow {
    /// Leave the column out.
    Drop(&'static str),
    /// Cut its cells, by no more than is needed, and to no less than so many columns of the terminal.
    Shorten(&'static str, usize),
}

/// What stands in one column of a row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cell {
    text: String,
    /// Instead of the row's.
    style: Option<Style>,
}

impl Cell {
    /// Text that stands out by itself.
    pub fn new(style: Option<Style>, text: impl Into<String>) -> Self {
        Self { text: text.into(), style }
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self { text, style: None }
    }
}

/// Rows under a head.
#[derive(Debug, Clone)]
pub struct Table {
    head: Vec<(&'static str, Align)>,
    rows: Vec<Row>,
    /// What the terminal holds; notes are broken there.
    columns: Option<usize>,
}

#[derive(Debug, Clone)]
struct Row {
    style: Option<Style>,
    cells: Vec<Cell>,
    notes: Vec<String>,
}

/// Blanks between columns.
const GAP: &str = "  ";
/// Blanks before a note.
const INDENT: usize = 6;
/// A note is broken at no less, however narrow the terminal.
const LEAST_NOTE: usize = 10;

impl Table {
    /// A table with these columns and no rows.
    pub fn new(head: &[(&'static str, Align)]) -> Self {
        Self { head: head.to_vec(), rows: Vec::new(), columns: None }
    }

    /// Adds a row, one cell a column.
    pub fn row<C: Into<Cell>>(&mut self, style: Option<Style>, cells: Vec<C>) {
        debug_assert_eq!(cells.len(), self.head.len());
        let cells = cells.into_iter().map(Into::into).collect();
        self.rows.push(Row { style, cells, notes: Vec::new() });
    }

    /// Adds a line of text below the last row, indented, and broken between words where the terminal ends.
    pub fn note(&mut self, text: impl Into<String>) {
        if let Some(row) = self.rows.last_mut() {
            row.notes.push(text.into());
        }
    }

    /// Takes one step after another until the table fits `columns`; without a number, it stays as it is.
    #[must_use]
    pub fn within(mut self, columns: Option<usize>, steps: &[Narrow]) -> Self {
        let Some(columns) = columns else { return self };
        self.columns = Some(columns);
        for step in steps {
            let excess = self.total().saturating_sub(columns);
            if excess == 0 {
                break;
            }
            self.narrow(*step, excess);
        }
        self
    }

    fn narrow(&mut self, step: Narrow, excess: usize) {
        let (Narrow::Drop(name) | Narrow::Shorten(name, _)) = step;
        let Some(column) = self.head.iter().position(|(head, _)| *head == name) else { return };
        match step {
            Narrow::Drop(_) => {
                self.head.remove(column);
                for row in &mut self.rows {
                    row.cells.remove(column);
                }
            }
            Narrow::Shorten(_, least) => {
                let width = self.width(column).saturating_sub(excess).max(least);
                for row in &mut self.rows {
                    row.cells[column].text = shortened(&row.cells[column].text, width);
                }
            }
        }
    }

    /// The text, a line a row, without blanks at line ends.
    pub fn render(&self, output: &Output) -> String {
        self.styled_lines().iter().map(|line| line.render(output) + "\n").collect()
    }

    /// The head and the rows, each with its style, for whoever cuts them before they are shown.
    pub fn lines(&self) -> Vec<(Option<Style>, String)> {
        let widths = self.widths();
        let rows = self.rows.iter().map(|row| (row.style, self.line(row.style, &row.cells, &widths).text()));
        std::iter::once((Some(Style::Faint), self.head_line(&widths).text())).chain(rows).collect()
    }

    /// The same with what stands out in single cells, and with the notes.
    pub fn styled_lines(&self) -> Vec<Line> {
        let widths = self.widths();
        let mut lines = vec![self.head_line(&widths)];
        for row in &self.rows {
            lines.push(self.line(row.style, &row.cells, &widths));
            lines.extend(row.notes.iter().flat_map(|note| self.broken(note)));
        }
        lines
    }

    fn head_line(&self, widths: &[usize]) -> Line {
        let head: Vec<Cell> = self.head.iter().map(|(name, _)| Cell::new(None, *name)).collect();
        self.line(Some(Style::Faint), &head, widths)
    }

    fn broken(&self, note: &str) -> Vec<Line> {
        let room = self.columns.map_or(usize::MAX, |columns| columns.saturating_sub(INDENT).max(LEAST_NOTE));
        let line = |text: String| Line::new(None, " ".repeat(INDENT) + &text);
        broken(note, room).into_iter().map(line).collect()
    }

    fn widths(&self) -> Vec<usize> {
        (0..self.head.len()).map(|column| self.width(column)).collect()
    }

    /// Of the widest line, in columns of the terminal.
    fn total(&self) -> usize {
        let widths = self.widths().into_iter().filter(|width| *width > 0);
        widths.map(|width| width + GAP.len()).sum::<usize>().saturating_sub(GAP.len())
    }

    /// In columns of the terminal; 0 for a column without any content.
    fn width(&self, column: usize) -> usize {
        let widest = self.rows.iter().map(|row| row.cells[column].text.width()).max().unwrap_or(0);
        if widest == 0 { 0 } else { widest.max(self.head[column].0.width()) }
    }

    fn line(&self, style: Option<Style>, cells: &[Cell], widths: &[usize]) -> Line {
        let columns = cells.iter().zip(&self.head).zip(widths).filter(|(_, width)| **width > 0);
        let mut line = Line::default();
        for ((cell, (_, align)), width) in columns {
            let blanks = " ".repeat(width - cell.text.width());
            let own = cell.style.or(style);
            match align {
                Align::Left => {
                    line.push(own, &cell.text);
                    line.push(style, &blanks);
                }
                Align::Right => {
                    line.push(style, &blanks);
                    line.push(own, &cell.text);
                }
            }
            line.push(style, GAP);
        }
        line.trim_end()
    }
}

/// Text in lines of at most so many columns; a word that is longer stands alone and is cut.
fn broken(text: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let word = shortened(word, columns);
        match lines.last_mut().filter(|line| line.width() + 1 + word.width() <= columns) {
            Some(line) => {
                line.push(' ');
                line.push_str(&word);
            }
            None => lines.push(word),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(table: &Table) -> String {
        table.render(&Output::new(false, false, true))
    }

    #[test]
    fn columns_line_up_and_empty_ones_vanish() {
        let mut table = Table::new(&[
            ("NODE", Align::Left),
            ("ZONE", Align::Left),
            ("RTT", Align::Right),
            ("", Align::Left),
        ]);
        table.row(None, vec!["a".to_owned(), String::new(), "8.1".into(), "x".into()]);
        table.row(None, vec!["longer".to_owned(), String::new(), "120.5".into(), String::new()]);
        assert_eq!(plain(&table), "NODE      RTT\na         8.1  x\nlonger  120.5\n");
    }

    #[test]
    fn wide_characters_take_two_columns() {
        let mut table = Table::new(&[("A", Align::Left), ("B", Align::Left)]);
        table.row(None, vec!["日本".to_owned(), "x".into()]);
        table.row(None, vec!["abcd".to_owned(), "x".into()]);
        assert_eq!(plain(&table), "A     B\n日本  x\nabcd  x\n");
    }

    #[test]
    fn a_narrow_terminal_costs_the_least_important_first_and_no_more_than_needed() {
        let mut table = Table::new(&[("NODE", Align::Left), ("MIN", Align::Right), ("VERDICT", Align::Left)]);
        table.row(None, vec!["frankfurt".to_owned(), "8.1".into(), "rejected: full".into()]);
        let steps = [
            Narrow::Shorten("VERDICT", 12),
            Narrow::Drop("MIN"),
            Narrow::Drop("ZONE"),
            Narrow::Shorten("NODE", 4),
        ];
        let at = |columns: usize| plain(&table.clone().within(Some(columns), &steps));
        assert_eq!(at(30), "NODE       MIN  VERDICT\nfrankfurt  8.1  rejected: full\n");
        assert_eq!(at(29), "NODE       MIN  VERDICT\nfrankfurt  8.1  rejected: fu…\n");
        assert_eq!(at(27), "NODE       VERDICT\nfrankfurt  rejected: f…\n");
        assert_eq!(at(22), "NODE      VERDICT\nfrankfu…  rejected: f…\n");
        assert_eq!(plain(&table.clone().within(None, &steps)), plain(&table));
    }

    #[test]
    fn notes_are_broken_between_words_and_widen_nothing() {
        let mut table = Table::new(&[("A", Align::Left), ("B", Align::Left)]);
        table.row(None, vec!["x".to_owned(), "y".into()]);
        table.note("in us-east, not eu-central");
        assert_eq!(plain(&table), "A  B\nx  y\n      in us-east, not eu-central\n");
        let narrow = table.within(Some(18), &[]);
        assert_eq!(plain(&narrow), "A  B\nx  y\n      in us-east,\n      not\n      eu-central\n");
        assert_eq!(broken("abcdefghijkl m", 5), ["abcd…", "m"]);
    }

    #[test]
    fn a_cell_stands_out_in_its_row() {
        let mut table = Table::new(&[("A", Align::Left), ("B", Align::Right)]);
        let cells = vec![Cell::new(Some(Style::Good), "x"), Cell::new(None, "1")];
        table.row(Some(Style::Faint), cells);
        let mut line = Line::new(Some(Style::Good), "x");
        line.push(Some(Style::Faint), "  1");
        assert_eq!(table.styled_lines()[1], line);
    }
}
