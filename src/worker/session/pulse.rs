//! When a heartbeat is due.

use super::random::Random;
use super::{Millis, SessionConfig};

/// The timing of heartbeats, and what the next one must carry.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    connected: bool,
    last_sent: Option<Millis>,
    next_regular: Millis,
    urgent: bool,
    whole: bool,
}

impl Pulse {
    /// The connection stands: one heartbeat at once, whatever was sent over the old one and perhaps lost.
    pub(super) fn connected(&mut self) {
        *self = Self {
            connected: true,
            urgent: true,
            whole: true,
            ..Self::default()
        };
    }

    pub(super) fn disconnected(&mut self) {
        self.connected = false;
    }

    pub(super) const fn is_connected(&self) -> bool {
        self.connected
    }

    /// Something happened that the leader should hear now.
    pub(super) fn hurry(&mut self) {
        self.urgent = true;
    }

    /// The next heartbeat carries the whole inventory.
    pub(super) fn ask_whole(&mut self) {
        self.whole = true;
    }

    /// When the next heartbeat is to be sent.
    pub(super) fn deadline(&self, config: &SessionConfig) -> Option<Millis> {
        let earliest = self.last_sent.map_or(Millis(0), |at| at.plus(config.min_gap_ms));
        let wanted = if self.urgent { Millis(0) } else { self.next_regular };
        self.connected.then(|| wanted.max(earliest))
    }

    /// Whether to send now, and then whether with the whole inventory.
    pub(super) fn beat(&mut self, now: Millis, config: &SessionConfig, random: &mut Random) -> Option<bool> {
        self.deadline(config).filter(|deadline| *deadline <= now)?;
        self.last_sent = Some(now);
        self.next_regular = now.plus(random.jitter(config.interval_ms));
        self.urgent = false;
        Some(std::mem::take(&mut self.whole))
    }
}
