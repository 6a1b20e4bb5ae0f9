//! The live table: who listens to what, as lines that fit a terminal. Pure: what is known in, lines out.

use std::collections::BTreeMap;
use std::time::Duration;

use super::audience::Visit;
use super::score::listening;
use crate::screen::Paint;

/// Fewest lines that are left to what is told above the table.
const LINES_ABOVE: usize = 6;
/// A column of the grid: number, agent, note.
const CELL_NOTE: usize = 7;

/// What is shown.
#[derive(Debug)]
pub(super) struct View<'a> {
    pub(super) elapsed: Duration,
    pub(super) step: &'a str,
    /// (name, what it is doing), the orchestrator first.
    pub(super) parts: &'a [(String, String)],
    pub(super) channels: u16,
    pub(super) visits: &'a [Visit],
    /// On the clock of the visits.
    pub(super) now_us: u64,
}

/// Pieces of one line.
type Line = Vec<(Paint, String)>;

/// The table in at most `height` lines of at most `width` characters.
pub(super) fn lines(view: &View<'_>, width: usize, height: usize, colours: bool) -> Vec<String> {
    let room = height.saturating_sub(LINES_ABOVE);
    let now = listening(view.visits);
    let mut lines = vec![Vec::new(), head(view, &now)];
    lines.extend(agents(view, &now));
    lines.push(Vec::new());
    lines.extend(grid(view, &now, width));
    let over = lines.len() > room;
    lines.truncate(if over { room.saturating_sub(1) } else { room });
    if over && room > 0 {
        lines.push(vec![(
            Paint::Dim,
            "  … the terminal is too low for all".to_owned(),
        )]);
    }
    lines
        .iter()
        .map(|line| fit(line, width.saturating_sub(1), colours))
        .collect()
}

fn head(view: &View<'_>, now: &BTreeMap<u16, Vec<&Visit>>) -> Line {
    let right = now.values().filter(|open| open.len() == 1).count();
    let all = usize::from(view.channels);
    let paint = if right == all { Paint::Good } else { Paint::Bad };
    vec![
        (Paint::Dim, format!("{:>4} s  ", view.elapsed.as_secs())),
        (Paint::Bold, format!("{}  ", view.step)),
        (
            paint,
            format!("{right} of {all} channels have exactly one listener"),
        ),
    ]
}

fn agents(view: &View<'_>, now: &BTreeMap<u16, Vec<&Visit>>) -> Vec<Line> {
    let longest = view
        .parts
        .iter()
        .map(|(name, _)| name.len())
        .max()
        .unwrap_or_default();
    let line = |(index, (name, state)): (usize, &(String, String))| {
        let count = now
            .values()
            .flatten()
            .filter(|visit| visit.listener == *name)
            .count();
        let mut line = vec![
            (hue(view, name), format!("  {name:<longest$}")),
            (Paint::Plain, format!("  {state:<14}")),
        ];
        // The orchestrator listens to nothing.
        if index > 0 {
            line.push((Paint::Plain, format!("  {count:>3}  ")));
            line.push((hue(view, name), "▮".repeat(count)));
        }
        line
    };
    view.parts.iter().enumerate().map(line).collect()
}

fn grid(view: &View<'_>, now: &BTreeMap<u16, Vec<&Visit>>, width: usize) -> Vec<Line> {
    let channels = usize::from(view.channels);
    let longest = view
        .parts
        .iter()
        .map(|(name, _)| name.len())
        .max()
        .unwrap_or_default();
    let columns = (width / (4 + 1 + longest + 1 + CELL_NOTE)).max(1);
    let rows = channels.div_ceil(columns).max(1);
    let mut lines = vec![Line::new(); rows];
    for channel in 1..=view.channels {
        let row = (usize::from(channel) - 1) % rows;
        if let Some(line) = lines.get_mut(row) {
            line.extend(cell(view, channel, now.get(&channel), longest));
        }
    }
    lines
}

/// `  07 agent-2 2.3 s `: the note says for how long nobody listened, until it is old news.
fn cell(view: &View<'_>, channel: u16, open: Option<&Vec<&Visit>>, longest: usize) -> Line {
    let number = (Paint::Dim, format!("{channel:>4} "));
    let seconds = |us: u64| format!("{}.{} s", us / 1_000_000, us / 100_000 % 10);
    let last = |before: u64| {
        view.visits
            .iter()
            .rfind(|visit| visit.channel == channel && visit.connection < before)
            .and_then(|visit| visit.to_us)
    };
    let (paint, who, note) = match open.map(Vec::as_slice) {
        Some([one]) => {
            let gap = last(one.connection)
                .map(|to_us| seconds(one.from_us.saturating_sub(to_us)))
                .unwrap_or_default();
            (hue(view, &one.listener), one.listener.clone(), gap)
        }
        Some(several) => (Paint::Bad, format!("{} at a time!", several.len()), String::new()),
        None => {
            let silent = last(u64::MAX).map(|to_us| seconds(view.now_us.saturating_sub(to_us)));
            (Paint::Bad, "-".to_owned(), silent.unwrap_or_default())
        }
    };
    let note_paint = if paint == Paint::Bad {
        Paint::Bad
    } else {
        Paint::Dim
    };
    vec![
        number,
        (paint, format!("{who:<longest$} ")),
        (note_paint, format!("{note:<CELL_NOTE$}")),
    ]
}

fn hue(view: &View<'_>, name: &str) -> Paint {
    match view.parts.iter().position(|(part, _)| part == name) {
        Some(0) | None => Paint::Plain,
        Some(number) => Paint::Hue(number - 1),
    }
}

/// Cuts a line, so that it never takes two.
fn fit(line: &Line, width: usize, colours: bool) -> String {
    let mut left = width;
    let mut text = String::new();
    for (paint, piece) in line {
        let piece: String = piece.chars().take(left).collect();
        left -= piece.chars().count();
        text.push_str(&paint.on(&piece, colours));
    }
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view<'a>(parts: &'a [(String, String)], visits: &'a [Visit], channels: u16) -> View<'a> {
        View {
            elapsed: Duration::from_millis(12_345),
            step: "2. An agent is killed",
            parts,
            channels,
            visits,
            now_us: 9_000_000,
        }
    }

    fn parts() -> Vec<(String, String)> {
        ["orchestrator", "agent-1", "agent-2"]
            .map(|name| (name.to_owned(), "process 7".to_owned()))
            .to_vec()
    }

    fn visit(connection: u64, channel: u16, listener: &str, to_us: Option<u64>) -> Visit {
        Visit {
            connection,
            channel,
            listener: listener.to_owned(),
            from_us: connection * 1_000_000,
            to_us,
        }
    }

    #[test]
    fn it_says_who_listens_and_for_how_long_nobody_did() {
        let visits = [
            visit(1, 1, "agent-1", None),
            visit(2, 2, "agent-2", Some(3_500_000)),
            visit(3, 3, "agent-2", Some(3_500_000)),
            visit(5, 2, "agent-1", None),
            visit(6, 4, "agent-1", None),
            visit(7, 4, "agent-2", None),
        ];
        let text = lines(&view(&parts(), &visits, 4), 100, 40, false).join("\n");
        for part in [
            "12 s  2. An agent is killed  2 of 4 channels have exactly one listener",
            "agent-1       process 7         3  ▮▮▮",
            "1 agent-1",
            "2 agent-1      1.5 s",
            "3 -            5.5 s",
            "4 2 at a time!",
        ] {
            assert!(text.contains(part), "{part:?} is missing in\n{text}");
        }
    }

    #[test]
    fn it_fits_whatever_terminal() {
        let visits: Vec<Visit> = (1..=200).map(|n| visit(n, n as u16, "agent-1", None)).collect();
        for (width, height) in [(80, 24), (20, 10), (1, 1), (0, 0), (300, 100)] {
            let lines = lines(&view(&parts(), &visits, 200), width, height, false);
            assert!(
                lines.len() <= height.saturating_sub(LINES_ABOVE),
                "{width}x{height}"
            );
            assert!(
                lines.iter().all(|line| line.chars().count() <= width),
                "{width}x{height}"
            );
        }
        let colourful = lines(&view(&parts(), &visits, 30), 80, 24, true).join("\n");
        assert!(colourful.contains("\x1b["), "{colourful}");
    }
}
