//! Orders from the leader: each is carried out once and answered as often as it is asked.

use streamkeeper_protocol::{Control, ControlKind, ControlReply, PROTOCOL_VERSION, decode};

use super::{Driver, Event, Message};

impl Driver {
    pub(super) async fn control(&mut self, message: Message) {
        let control = match decode::<Control>(&message.payload, Some(&self.worker)) {
            Ok(control) => control,
            Err(error) => {
                self.refusals
                    .log(&self.worker, error.reason(), &error.to_string());
                return;
            }
        };
        let reply = match self.orders.answered(&control.id) {
            Some(reply) => reply.clone(),
            None => self.obey(control).await,
        };
        if let (Some(subject), Some(bus)) = (message.reply, &self.bus)
            && let Err(problem) = bus.publish(subject.to_string(), &reply).await
        {
            self.refusals.log(&self.worker, "control_reply", &problem);
        }
    }

    /// Does what a control message orders, once.
    async fn obey(&mut self, control: Control) -> ControlReply {
        let Control {
            session,
            id,
            term,
            kind,
            ..
        } = control;
        let reason = match session {
            Some(session) if session != self.identity.session => Some(format!(
                "session {session} is meant, this is {}",
                self.identity.session
            )),
            Some(_) | None => {
                if kind == ControlKind::Restart {
                    self.finish_saving().await;
                }
                self.feed(Event::Control { term, kind }).await
            }
        };
        if let Some(problem) = &reason {
            self.refusals.log(&self.worker, "control", problem);
        }
        let reply = ControlReply {
            v: PROTOCOL_VERSION,
            id,
            done: reason.is_none(),
            reason,
        };
        self.orders.remember(reply.clone());
        reply
    }
}
