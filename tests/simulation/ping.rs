//! Whether anybody listens: what the message server says at once.

use streamkeeper_core::heartbeat_tracker::{self, Answer, Way};
use streamkeeper_core::router::Input;
use streamkeeper_protocol::{SessionId, WorkerId};

use crate::network::Party;
use crate::orchestrator::Work;
use crate::world::{Happening, World};

impl World {
    /// An orchestrator asks a session for a sign of life.
    pub(crate) fn ping(&mut self, index: usize, worker: WorkerId, session: SessionId, way: Way) {
        let own = self.link(Party::Orchestrator(index));
        let cut_off = !self.nats_up || own.mute_until > self.now || own.deaf_until > self.now;
        let mut listening = (0..self.nodes.len()).filter(|number| {
            let node = &self.nodes[*number];
            node.id == worker && node.connected && node.session.is_some()
        });
        let answer = match listening.next() {
            _ if cut_off => Answer::Unknown,
            None => Answer::Nobody,
            Some(number) => {
                let link = self.link(Party::Worker(number));
                let reached = link.mute_until <= self.now && link.deaf_until <= self.now;
                if reached && !self.nodes[number].gate.is_paused() {
                    Answer::Somebody
                } else {
                    Answer::Unknown
                }
            }
        };
        self.sometimes.saw(match answer {
            Answer::Nobody => "nobody listens",
            Answer::Somebody | Answer::Unknown => "somebody may listen",
        });
        let event = heartbeat_tracker::Event::Pinged {
            worker,
            session,
            way,
            answer,
        };
        self.tell_tracker(index, event);
    }

    /// The message server is back: every orchestrator is connected to it anew.
    pub(crate) fn connections_are_new(&mut self) {
        for index in 0..self.orchestrators.len() {
            self.tell_tracker(index, heartbeat_tracker::Event::Connection);
        }
    }

    fn tell_tracker(&mut self, index: usize, event: heartbeat_tracker::Event) {
        let life = self.orchestrators[index].gate.life;
        let work = Work::Arrive(Box::new(Input::HeartbeatTracker(event)));
        let delay = self.network.between(1, 20);
        self.after(delay, Happening::Orchestrator(index, life, work));
    }
}
