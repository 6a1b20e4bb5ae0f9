//! Where the demo is told: lines that stay, and below them, on a terminal, a table that lives.

use std::cell::RefCell;
use std::io::{ErrorKind, IsTerminal, Write};
use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::audience::Audience;
use super::board::{self, View};
use crate::failure::Failure;
use crate::screen::{self, Paint};

/// Time between two drawings of the table.
const REDRAW: Duration = Duration::from_millis(200);
/// The terminal's size where it does not say.
const DEFAULT_SIZE: (u16, u16) = (80, 24);

/// Shared by all who tell.
#[derive(Debug, Clone)]
pub(super) struct Stage {
    /// Whether standard output is kept for the one object at the end.
    json: bool,
    live: bool,
    colours: bool,
    start: Instant,
    state: Rc<RefCell<State>>,
}

#[derive(Debug, Default)]
struct State {
    step: String,
    parts: Vec<(String, String)>,
    /// What stands below the last line that stays.
    table: Vec<String>,
    /// How many lines of it are on the screen.
    drawn: usize,
}

impl Stage {
    pub(super) fn new(json: bool) -> Self {
        let (live, colours) = if json {
            let stderr = std::io::stderr();
            (stderr.is_terminal(), screen::colours_on(&stderr))
        } else {
            let stdout = std::io::stdout();
            (stdout.is_terminal(), screen::colours_on(&stdout))
        };
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        Self {
            json,
            live: live && !dumb,
            colours,
            start: Instant::now(),
            state: Rc::default(),
        }
    }

    /// Since when it has been told.
    pub(super) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// A new chapter.
    pub(super) fn heading(&self, text: &str) -> Result<(), Failure> {
        text.clone_into(&mut self.state.borrow_mut().step);
        self.line("")?;
        self.line(&Paint::Bold.on(text, self.colours))
    }

    pub(super) fn say(&self, text: &str) -> Result<(), Failure> {
        self.line(&format!("  {text}"))
    }

    pub(super) fn good(&self, text: &str) -> Result<(), Failure> {
        self.say(&Paint::Good.on(text, self.colours))
    }

    pub(super) fn bad(&self, text: &str) -> Result<(), Failure> {
        self.say(&Paint::Bad.on(text, self.colours))
    }

    /// What stands for the table where there is none.
    pub(super) fn plain(&self, lines: impl IntoIterator<Item = String>) -> Result<(), Failure> {
        if self.live {
            return Ok(());
        }
        lines
            .into_iter()
            .try_for_each(|line| self.line(&format!("    {line}")))
    }

    /// Notes what a process is doing, for the table.
    pub(super) fn part(&self, name: &str, doing: &str) {
        let mut state = self.state.borrow_mut();
        let known = state.parts.iter_mut().find(|(part, _)| part == name);
        match known {
            Some((_, old)) => doing.clone_into(old),
            None => state.parts.push((name.to_owned(), doing.to_owned())),
        }
    }

    /// Draws the table again and again; never ends.
    pub(super) async fn keep_drawing(
        &self,
        audience: &Audience,
    ) -> Result<std::convert::Infallible, Failure> {
        if !self.live {
            return std::future::pending().await;
        }
        let mut pace = interval(REDRAW);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            pace.tick().await;
            let table = self.table(audience);
            self.state.borrow_mut().table = table;
            self.write("")?;
        }
    }

    /// Leaves the last table where it is: what comes after it comes below.
    pub(super) fn leave_table(&self) {
        let mut state = self.state.borrow_mut();
        state.table.clear();
        state.drawn = 0;
    }

    fn table(&self, audience: &Audience) -> Vec<String> {
        let size = crossterm::terminal::size().ok();
        let (width, height) = size
            .filter(|size| size.0 > 0 && size.1 > 0)
            .unwrap_or(DEFAULT_SIZE);
        let state = self.state.borrow();
        let view = View {
            elapsed: self.elapsed(),
            step: &state.step,
            parts: &state.parts,
            channels: audience.channels(),
            visits: &audience.visits(),
            now_us: audience.now_us(),
        };
        board::lines(&view, width.into(), height.into(), self.colours)
    }

    fn line(&self, text: &str) -> Result<(), Failure> {
        self.write(&format!("{text}\n"))
    }

    /// Writes text that stays in place of the table, and the table below it.
    fn write(&self, text: &str) -> Result<(), Failure> {
        let mut state = self.state.borrow_mut();
        let mut out = String::new();
        if state.drawn > 0 {
            // To the table's first line; then clear all below.
            out.push_str(&format!("\x1b[{}A\r\x1b[J", state.drawn));
        }
        out.push_str(text);
        for line in &state.table {
            out.push_str(line);
            out.push('\n');
        }
        state.drawn = state.table.len();
        let written = if self.json {
            let mut stderr = std::io::stderr().lock();
            stderr.write_all(out.as_bytes()).and_then(|()| stderr.flush())
        } else {
            let mut stdout = std::io::stdout().lock();
            stdout.write_all(out.as_bytes()).and_then(|()| stdout.flush())
        };
        match written {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                Err(Failure::failed(format!("demo: cannot write: {error}")))
            }
            _ => Ok(()),
        }
    }
}
