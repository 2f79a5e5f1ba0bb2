//! A table for people: columns as wide as their widest cell, empty columns left out.

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
        let widths: Vec<usize> = (0..self.head.len()).map(|column| self.width(column)).collect();
        let head: Vec<String> = self.head.iter().map(|(name, _)| (*name).to_owned()).collect();
        let mut lines = vec![output.styled(Style::Faint, self.line(&head, &widths)).to_string()];
        for (style, cells) in &self.rows {
            let line = self.line(cells, &widths);
            lines.push(style.map_or(line.clone(), |style| output.styled(style, line).to_string()));
        }
        lines.push(String::new());
        lines.join("\n")
    }

    /// In characters; 0 for a column without any content.
    fn width(&self, column: usize) -> usize {
        let widest = self.rows.iter().map(|(_, cells)| cells[column].chars().count()).max().unwrap_or(0);
        if widest == 0 { 0 } else { widest.max(self.head[column].0.chars().count()) }
    }

    fn line(&self, cells: &[String], widths: &[usize]) -> String {
        let columns = cells.iter().zip(&self.head).zip(widths).filter(|(_, width)| **width > 0);
        let padded: Vec<String> = columns
            .map(|((cell, (_, align)), width)| match align {
                Align::Left => format!("{cell:<width$}"),
                Align::Right => format!("{cell:>width$}"),
            })
            .collect();
        padded.join(GAP).trim_end().to_owned()
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
}
