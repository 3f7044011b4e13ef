//! Tables on the terminal: columns as wide as what is seen, without the codes of colours and without spaces at the ends.

use anstream::adapter::strip_str;

use super::BOLD;

/// Spaces between columns.
const GAP: &str = "  ";

/// Rows of cells, which may have colours.
#[derive(Debug, Default)]
pub(super) struct TextTable {
    header: Option<Vec<String>>,
    rows: Vec<Vec<String>>,
    /// Columns of numbers.
    right: Vec<usize>,
}

impl TextTable {
    /// A table with a header; its columns at the positions `right` are aligned to the right.
    pub(super) fn with_header<const N: usize>(header: [&str; N], right: &[usize]) -> Self {
        Self {
            header: Some(header.map(str::to_owned).into()),
            rows: Vec::new(),
            right: right.to_owned(),
        }
    }

    /// Adds a row.
    pub(super) fn add_row<const N: usize>(&mut self, cells: [String; N]) -> &mut Self {
        self.rows.push(cells.into());
        self
    }

    /// Returns the lines.
    pub(super) fn lines(&self) -> Vec<String> {
        let widths = self.widths();
        let line = |row: &Vec<String>| self.line(row, &widths);
        let header = self
            .header
            .iter()
            .map(|header| format!("{BOLD}{}{BOLD:#}", line(header)));
        header.chain(self.rows.iter().map(line)).collect()
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths = Vec::new();
        for row in self.header.iter().chain(&self.rows) {
            widths.resize(row.len().max(widths.len()), 0);
            for (most, cell) in widths.iter_mut().zip(row) {
                *most = width(cell).max(*most);
            }
        }
        widths
    }

    /// Pads all cells but the last, which may be long.
    fn line(&self, row: &[String], widths: &[usize]) -> String {
        let mut line = String::new();
        for (column, (cell, most)) in row.iter().zip(widths).enumerate() {
            let padding = " ".repeat(most - width(cell));
            if column > 0 {
                line.push_str(GAP);
            }
            if self.right.contains(&column) {
                line.push_str(&padding);
                line.push_str(cell);
            } else {
                line.push_str(cell);
                line.push_str(&padding);
            }
        }
        line.trim_end().to_owned()
    }
}

/// The number of characters that are seen.
fn width(cell: &str) -> usize {
    strip_str(cell).map(|part| part.chars().count()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{GREEN, RED};

    #[test]
    fn colours_have_no_width_and_the_last_column_no_padding() {
        let mut table = TextTable::with_header(["step", "ms", "detail"], &[1]);
        table.add_row([
            format!("{GREEN}passed{GREEN:#}"),
            "5".to_owned(),
            "Łódź".to_owned(),
        ]);
        table.add_row([format!("{RED}no{RED:#}"), "12".to_owned(), "x".repeat(400)]);
        let lines: Vec<String> = table
            .lines()
            .iter()
            .map(|line| strip_str(line).to_string())
            .collect();
        assert_eq!(lines[..2], ["step    ms  detail", "passed   5  Łódź"]);
        assert_eq!(lines[2], format!("no      12  {}", "x".repeat(400)));
    }

    #[test]
    fn empty_cells_at_the_end_leave_no_spaces() {
        let mut table = TextTable::default();
        table.add_row(["a".to_owned(), String::new()]);
        table.add_row(["bcd".to_owned(), "e".to_owned()]);
        assert_eq!(table.lines(), ["a", "bcd  e"]);
    }
}
