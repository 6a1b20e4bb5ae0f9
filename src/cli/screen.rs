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
    // `streams list | head` is no failure.
    read_line(text).map(|_| ())
}

/// Prints one line; false when nobody reads any more.
pub(crate) fn read_line(text: &str) -> Result<bool, Failure> {
    let mut stdout = std::io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::failed(format!("cannot write to stdout: {error}"))),
    }
}

/// Prints JSON for programs.
pub(crate) fn json(value: &Value) -> Result<(), Failure> {
    line(&format!("{value:#}"))
}

/// Says on stderr what is worth knowing beside the answer itself.
pub(crate) fn note(text: &str) {
    let mut stderr = std::io::stderr().lock();
    let text = Paint::Dim.on(&format!("-- {text}"), colours_on(&stderr));
    // The answer goes on where nobody reads the notes.
    let _ = writeln!(stderr, "{text}");
}

/// Says on stderr why a command failed.
pub(crate) fn complain(text: &str) {
    let mut stderr = std::io::stderr().lock();
    let error = Paint::Bad.on("error:", colours_on(&stderr));
    // Nobody is left to tell when stderr is gone.
    let _ = writeln!(stderr, "{error} {text}");
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

/// Prints one object: a line per field, what is inside of others by its path; what is not known is left out.
pub(crate) fn fields(object: &Value) -> Result<(), Failure> {
    let mut rows = Vec::new();
    flatten("", object, &mut rows);
    let mut table = table(&["FIELD", "VALUE"]);
    for (field, value) in rows {
        let coloured = matches!(field.as_str(), "state" | "availability");
        let value = if coloured { state(&value) } else { value.into() };
        table.add_row(vec![field.into(), value]);
    }
    print_table(&table)
}

/// The field of each object that is text.
pub(crate) fn texts(objects: &[Value], field: &str) -> Vec<String> {
    objects
        .iter()
        .filter_map(|object| object.get(field)?.as_str().map(str::to_owned))
        .collect()
}

fn flatten(path: &str, value: &Value, rows: &mut Vec<(String, String)>) {
    match value {
        Value::Null => {}
        Value::Object(map) => {
            for (key, value) in map {
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                flatten(&path, value, rows);
            }
        }
        Value::Array(items) if items.is_empty() => {}
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(item).collect();
            rows.push((path.to_owned(), items.join("\n")));
        }
        Value::String(text) => rows.push((path.to_owned(), text.clone())),
        other => rows.push((path.to_owned(), other.to_string())),
    }
}

/// One of several, on one line.
fn item(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(map) => {
            let pieces = map.iter().filter(|(_, value)| !value.is_null());
            pieces
                .map(|(key, value)| format!("{key}={}", item(value)))
                .collect::<Vec<_>>()
                .join(" ")
        }
        other => other.to_string(),
    }
}

/// A cell for a state: green what is well, red what is not, yellow what is under way.
pub(crate) fn state(text: &str) -> Cell {
    let cell = Cell::new(text);
    if !colours() {
        return cell;
    }
    cell.fg(match text {
        "running" | "online" | "available" | "ready" | "leading" => Color::Green,
        "failing" | "failed" | "unplaced" | "waiting" | "orphaned" | "lost" | "gone" | "emergency" => {
            Color::Red
        }
        "disabled" => Color::Grey,
        _ => Color::Yellow,
    })
}

fn colours() -> bool {
    colours_on(&std::io::stdout())
}

/// Whether what is written there may have colours.
pub(crate) fn colours_on(place: &impl IsTerminal) -> bool {
    let forbidden = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    place.is_terminal() && !dumb && !forbidden("NO_COLOR")
}

/// How a piece of text looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Paint {
    #[default]
    Plain,
    Good,
    Bad,
    Notable,
    Dim,
    Bold,
    /// One of a few colours that say nothing but "the same again".
    Hue(usize),
}

impl Paint {
    /// The text with the colour's codes around it, or as it is.
    pub(crate) fn on(self, text: &str, colours: bool) -> String {
        const HUES: [u8; 6] = [36, 35, 34, 96, 95, 94];
        let code = match self {
            Self::Plain => return text.to_owned(),
            _ if !colours || text.is_empty() => return text.to_owned(),
            Self::Good => 32,
            Self::Bad => 31,
            Self::Notable => 33,
            Self::Dim => 2,
            Self::Bold => 1,
            Self::Hue(number) => HUES[number % HUES.len()],
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// The same, where standard output takes colours.
    pub(crate) fn out(self, text: &str) -> String {
        self.on(text, colours())
    }
}

/// A number of bytes in the largest unit that leaves at least one: `42.9 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    let units = [(1_u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.into_iter().find(|(size, _)| count >= *size) {
        Some((size, unit)) => format!("{:.1} {unit}", count as f64 / size as f64),
        None => format!("{count} B"),
    }
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
    fn paint_is_left_out_where_it_is_not_wanted() {
        assert_eq!(Paint::Bad.on("x", true), "\x1b[31mx\x1b[0m");
        assert_eq!(Paint::Hue(7).on("x", true), Paint::Hue(1).on("x", true));
        for (paint, text, colours) in [
            (Paint::Bad, "x", false),
            (Paint::Plain, "x", true),
            (Paint::Good, "", true),
        ] {
            assert_eq!(paint.on(text, colours), text);
        }
    }

    #[test]
    fn objects_become_rows() {
        let object = serde_json::json!({
            "id": "w", "zone": null, "labels": {}, "capacity": {"weight": 1.5},
            "assigned": ["a", "b"], "running": [{"stream": "a", "reason": null, "restarts": 2}], "none": [],
        });
        let mut rows = Vec::new();
        flatten("", &object, &mut rows);
        rows.sort();
        let expected = [
            ("assigned", "a\nb"),
            ("capacity.weight", "1.5"),
            ("id", "w"),
            ("running", "restarts=2 stream=a"),
        ];
        assert_eq!(
            rows,
            expected.map(|(field, value)| (field.to_owned(), value.to_owned()))
        );
    }

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

    #[test]
    fn numbers_of_bytes_have_one_unit() {
        for (count, expected) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1.0 KiB"),
            (45_000_000, "42.9 MiB"),
            (3 << 30, "3.0 GiB"),
        ] {
            assert_eq!(bytes(count), expected);
        }
    }
}
