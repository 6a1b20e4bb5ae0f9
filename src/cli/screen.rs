//! What people and programs read: lines, tables, JSON. Colours only on a terminal and without `NO_COLOR`.

use std::io::{ErrorKind, IsTerminal, Write};

use clap::{Args, ValueEnum};
use comfy_table::{Cell, Color, ContentArrangement, Table, presets};
use serde_json::Value;

use crate::failure::Failure;

/// How an answer is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct OutputArgs {
    /// How to print the answer
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) output: Format,
}

/// Prints one line.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Ok(()) => Ok(()),
        // `streams list | head` is no failure.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::failed(format!("cannot write to stdout: {error}"))),
    }
}

/// Prints JSON for programs.
pub(crate) fn json(value: &Value) -> Result<(), Failure> {
    line(&format!("{value:#}"))
}

/// Says on stderr why a command failed.
pub(crate) fn complain(text: &str) {
    // Nobody is left to tell when stderr is gone.
    let _ = writeln!(std::io::stderr().lock(), "error: {text}");
}

/// A table without lines, as wide as it needs to be; cut to the terminal where there is one.
pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.to_vec());
    if std::io::stdout().is_terminal() {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

/// Prints a table without the blanks at the ends of its lines.
pub(crate) fn print_table(table: &Table) -> Result<(), Failure> {
    for row in table.lines() {
        line(row.trim_end())?;
    }
    Ok(())
}

/// A cell for a state: green what is well, red what is not, yellow what is under way.
pub(crate) fn state(text: &str) -> Cell {
    let cell = Cell::new(text);
    if !colours() {
        return cell;
    }
    cell.fg(match text {
        "running" | "online" | "available" | "ready" | "leading" => Color::Green,
        "failing" | "failed" | "unplaced" | "orphaned" | "lost" | "gone" | "emergency" => Color::Red,
        "disabled" => Color::Grey,
        _ => Color::Yellow,
    })
}

fn colours() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A time of many units as its largest two: `3m 20s`.
pub(crate) fn ago(milliseconds: u64) -> String {
    let seconds = milliseconds / 1_000;
    match seconds {
        0..=59 => format!("{}.{}s", seconds, milliseconds % 1_000 / 100),
        60..=3_599 => format!("{}m {}s", seconds / 60, seconds % 60),
        3_600..=86_399 => format!("{}h {}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_two_units() {
        for (ms, expected) in [
            (0, "0.0s"),
            (2_345, "2.3s"),
            (200_000, "3m 20s"),
            (7_320_000, "2h 2m"),
            (90_000_000, "1d 1h"),
        ] {
            assert_eq!(ago(ms), expected);
        }
    }
}
