//! A table for people: columns as wide as their widest cell, empty columns left out.

use unicode_width::UnicodeWidthStr as _;

use crate::output::{Output, Style};

/// Where a column's text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Rows under a head.
#[derive(Debug, Clone)]
pub struct Table {
    head: Vec<(&'static str, Align)>,
    rows: Vec<(Option<Style>, Vec<String>)>,
}

/// Blanks between columns.
const GAP: &str = "  ";

impl Table {
    /// A table with these columns and no rows.
    pub fn new(head: &[(&'static str, Align)]) -> Self {
        Self { head: head.to_vec(), rows: Vec::new() }
    }

    /// Adds a row, one cell a column.
    pub fn row(&mut self, style: Option<Style>, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.head.len());
        self.rows.push((style, cells));
    }

    /// The text, a line a row, without blanks at line ends.
    pub fn render(&self, output: &Output) -> String {
        let styled = |(style, line): (Option<Style>, String)| match style {
            Some(style) => format!("{}\n", output.styled(style, line)),
            None => line + "\n",
        };
        self.lines().into_iter().map(styled).collect()
    }

    /// The head and the rows, each with its style, for whoever cuts them before they are shown.
    pub fn lines(&self) -> Vec<(Option<Style>, String)> {
        let widths: Vec<usize> = (0..self.head.len()).map(|column| self.width(column)).collect();
        let head: Vec<String> = self.head.iter().map(|(name, _)| (*name).to_owned()).collect();
        let rows = self.rows.iter().map(|(style, cells)| (*style, self.line(cells, &widths)));
        std::iter::once((Some(Style::Faint), self.line(&head, &widths))).chain(rows).collect()
    }

    /// In columns of the terminal; 0 for a column without any content.
    fn width(&self, column: usize) -> usize {
        let widest = self.rows.iter().map(|(_, cells)| cells[column].width()).max().unwrap_or(0);
        if widest == 0 { 0 } else { widest.max(self.head[column].0.width()) }
    }

    fn line(&self, cells: &[String], widths: &[usize]) -> String {
        let columns = cells.iter().zip(&self.head).zip(widths).filter(|(_, width)| **width > 0);
        let mut line = String::with_capacity(widths.iter().map(|width| width + GAP.len()).sum());
        for ((cell, (_, align)), width) in columns {
            let blanks = std::iter::repeat_n(' ', width - cell.width());
            match align {
                Align::Left => {
                    line.push_str(cell);
                    line.extend(blanks);
                }
                Align::Right => {
                    line.extend(blanks);
                    line.push_str(cell);
                }
            }
            line.push_str(GAP);
        }
        line.truncate(line.trim_end().len());
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_empty_ones_vanish() {
        let mut table = Table::new(&[
            ("NODE", Align::Left),
            ("ZONE", Align::Left),
            ("RTT", Align::Right),
            ("", Align::Left),
        ]);
        table.row(None, vec!["a".into(), String::new(), "8.1".into(), "x".into()]);
        table.row(None, vec!["longer".into(), String::new(), "120.5".into(), String::new()]);
        let plain = Output::new(false, false, true);
        assert_eq!(table.render(&plain), "NODE      RTT\na         8.1  x\nlonger  120.5\n");
    }

    #[test]
    fn wide_characters_take_two_columns() {
        let mut table = Table::new(&[("A", Align::Left), ("B", Align::Left)]);
        table.row(None, vec!["日本".into(), "x".into()]);
        table.row(None, vec!["abcd".into(), "x".into()]);
        let plain = Output::new(false, false, true);
        assert_eq!(table.render(&plain), "A     B\n日本  x\nabcd  x\n");
    }
}
