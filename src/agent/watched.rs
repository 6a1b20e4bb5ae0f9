//! The events of one command on their way to whoever runs it: lines may be lost, but are counted; the rest never is.

use tokio::sync::mpsc;

use crate::client::RunEvent;

/// Lines of one command's output that wait to be taken.
const MAX_LINES: usize = 256;
/// Events of one command that are not lines: it starts, lines are missing, it ends.
const OTHER_EVENTS: usize = 3;

/// A command whose events somebody takes.
pub(crate) struct Watched {
    events: mpsc::Sender<RunEvent>,
    /// Lines that are missing, not told yet.
    missing: u64,
}

/// Both ends.
pub(crate) fn watched() -> (Watched, mpsc::Receiver<RunEvent>) {
    let (events, receiver) = mpsc::channel(OTHER_EVENTS + MAX_LINES);
    (Watched { events, missing: 0 }, receiver)
}

impl Watched {
    pub(crate) fn is_abandoned(&self) -> bool {
        self.events.is_closed()
    }

    pub(crate) fn started(&self, pid: i32) {
        self.tell(RunEvent::Started { pid });
    }

    /// Lines that are missing from here on.
    pub(crate) fn dropped(&mut self, lines: u64) {
        self.missing += lines;
        if self.missing > 0 && self.has_room() {
            let lines = std::mem::take(&mut self.missing);
            self.tell(RunEvent::Dropped { lines });
        }
    }

    /// Passes on a line, if there is room.
    pub(crate) fn line(&mut self, line: RunEvent) {
        self.dropped(0);
        if self.missing == 0 && self.has_room() {
            self.tell(line);
        } else {
            self.missing += 1;
        }
    }

    pub(crate) fn ended(self, reason: String) {
        if self.missing > 0 {
            self.tell(RunEvent::Dropped { lines: self.missing });
        }
        self.tell(RunEvent::Ended { reason });
    }

    /// For a line, with the room for the other events kept.
    fn has_room(&self) -> bool {
        self.events.capacity() > OTHER_EVENTS
    }

    /// There is room, and an event that nobody waits for may be lost.
    fn tell(&self, event: RunEvent) {
        let _ = self.events.try_send(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Fd;

    fn line(number: usize) -> RunEvent {
        RunEvent::Line {
            fd: Fd::Stdout,
            text: number.to_string(),
        }
    }

    fn taken(events: &mut mpsc::Receiver<RunEvent>) -> Vec<RunEvent> {
        std::iter::from_fn(|| events.try_recv().ok()).collect()
    }

    #[test]
    fn a_flood_costs_lines_but_not_the_end() {
        let (mut watched, mut events) = watched();
        for number in 0..1_000 {
            watched.line(line(number));
        }
        watched.started(7);
        watched.dropped(10);
        watched.ended("over".to_owned());
        let all = taken(&mut events);
        let (lines, rest) = all.split_at(MAX_LINES);
        assert_eq!(lines, (0..MAX_LINES).map(line).collect::<Vec<_>>());
        let missing = 1_000 - MAX_LINES as u64 + 10;
        assert_eq!(
            rest,
            [
                RunEvent::Started { pid: 7 },
                RunEvent::Dropped { lines: missing },
                RunEvent::Ended {
                    reason: "over".to_owned()
                },
            ]
        );
    }

    #[test]
    fn missing_lines_are_told_where_they_are_missing() {
        let (mut watched, mut events) = watched();
        for number in 0..=MAX_LINES {
            watched.line(line(number));
        }
        taken(&mut events);
        watched.line(line(99));
        watched.dropped(0);
        assert_eq!(taken(&mut events), [RunEvent::Dropped { lines: 1 }, line(99)]);
    }
}
