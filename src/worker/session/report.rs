//! What a session tells: heartbeats, and the end.

use streamkeeper_protocol::{Heartbeat, Inventory, Mode, PROTOCOL_VERSION, Phase, RunningStream};

use super::random::Random;
use super::{Command, Millis, Session};

impl Session {
    pub(super) fn tell(&mut self, now: Millis, random: &mut Random, out: &mut Vec<Command>) {
        if self.holds.take_changed() {
            self.inventory_version += 1;
            self.pulse.hurry();
        }
        if self.phase == Phase::Leaving && self.holds.is_empty() {
            self.phase = Phase::Gone;
            // The proof of death waits for no gap; without a connection the leader learns by silence.
            if self.pulse.is_connected() {
                self.heartbeats(now, true, out);
            }
            out.push(Command::Left);
        } else if let Some(asked) = self.pulse.beat(now, &self.config, random) {
            if let Some((unanswered, first)) = self.contact.beat(now, &self.config) {
                self.pulse.disconnected();
                out.push(Command::Reconnect { unanswered, first });
                return;
            }
            let whole = asked || self.told_version != Some(self.inventory_version);
            self.heartbeats(now, whole, out);
        }
    }

    fn heartbeats(&mut self, now: Millis, whole: bool, out: &mut Vec<Command>) {
        let digest = Inventory::digest(self.inventory_version, self.holds.count());
        if !whole {
            let heartbeat = self.heartbeat(now, digest);
            out.push(Command::Heartbeat(Box::new(heartbeat)));
            return;
        }
        self.told_version = Some(self.inventory_version);
        let entries = self.holds.inventory();
        let mut chunks: Vec<&[RunningStream]> =
            entries.chunks(self.config.max_entries_per_part.max(1)).collect();
        if chunks.is_empty() {
            chunks.push(&[]);
        }
        let parts = u32::try_from(chunks.len()).unwrap_or(u32::MAX);
        for (part, chunk) in (0..parts).zip(chunks) {
            let running = chunk.to_vec();
            let inventory = Inventory {
                part,
                parts,
                running,
                ..digest.clone()
            };
            let heartbeat = self.heartbeat(now, inventory);
            out.push(Command::Heartbeat(Box::new(heartbeat)));
        }
    }

    fn heartbeat(&mut self, now: Millis, inventory: Inventory) -> Heartbeat {
        self.seq += 1;
        self.leases.sent(now, self.seq);
        let hears = self.contact.hears(now, &self.config);
        Heartbeat {
            v: PROTOCOL_VERSION,
            worker: self.config.worker.clone(),
            session: self.id,
            seq: self.seq,
            boot_id: self.boot_id.clone(),
            supersedes: self.former.named(),
            applied: self.applied,
            highest_term: self.highest_term,
            mode: if hears { Mode::Connected } else { Mode::Local },
            lease_left_ms: self.leases.left_ms(now),
            guarded: self.config.guarded,
            phase: self.phase,
            capacity: self.config.capacity,
            labels: self.config.labels.clone(),
            zone: self.config.zone.clone(),
            version: self.config.version.clone(),
            inventory,
            host: None,
            performance: Vec::new(),
            zlib: false,
        }
    }
}
