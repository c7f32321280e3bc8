//! Tables for people: columns as wide as what stands in them.

use std::io::{self, Write};

/// Writes a head and rows of as many cells; what a terminal would take as a command is shown as `?`.
pub(super) fn print(head: &[&str], rows: &[Vec<String>], out: &mut impl Write) -> io::Result<()> {
    let head: Vec<String> = head.iter().map(|&name| name.to_owned()).collect();
    let mut widths: Vec<usize> = head.iter().map(|name| name.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for row in std::iter::once(&head).chain(rows) {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{:<width$}", harmless(cell)));
        writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

/// Text that others wrote, without what would move the cursor or colour the screen.
pub(super) fn harmless(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '?' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_stands_in_them() {
        let rows = [["1", "E1", "x"], ["22", "E\u{1b}[2J", "-"]].map(|row| row.map(str::to_owned).to_vec());
        let mut out = Vec::new();
        print(&["ID", "UID", "EVENT"], &rows, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "ID  UID    EVENT\n1   E1     x\n22  E?[2J  -\n");
    }
}
