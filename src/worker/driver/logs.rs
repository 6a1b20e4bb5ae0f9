//! Answers requests for lines, beside everything else that a connection carries.

use async_nats::{Message, Subscriber};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use streamkeeper_protocol::{LogReply, LogRequest, PROTOCOL_VERSION, SessionId, WorkerId, decode};

use super::bus::Bus;
use super::refusals::Refusals;
use crate::logs::LogBook;

/// Most requests that wait for a line at a time.
const MAX_READERS: usize = 64;
/// Most answers under way, refusals included; what is asked beyond gets none.
const MAX_ANSWERS: usize = 2 * MAX_READERS;
/// Largest answer, in bytes; less where the server takes less.
const MAX_REPLY_BYTES: usize = 256 * 1024;

/// Whose lines are read.
#[derive(Debug, Clone)]
pub(super) struct Desk {
    pub(super) worker: WorkerId,
    pub(super) session: SessionId,
    pub(super) book: LogBook,
}

impl Desk {
    /// Answers until the connection is lost.
    pub(super) async fn serve(self, bus: Bus, mut requests: Subscriber) {
        let mut refusals = Refusals::default();
        let mut answers = FuturesUnordered::new();
        loop {
            tokio::select! {
                () = bus.lost() => return,
                message = requests.next() => {
                    let Some(Message { payload, reply, .. }) = message else { return };
                    let Some(inbox) = reply else { continue };
                    match decode::<LogRequest>(&payload, Some(&self.worker)) {
                        Ok(_) if answers.len() >= MAX_ANSWERS => {
                            refusals.log(&self.worker, "log_request", "more is asked for than can be answered");
                        }
                        Ok(request) => {
                            let is_full = answers.len() >= MAX_READERS;
                            answers.push(self.answer(&bus, inbox.to_string(), request, is_full));
                        }
                        Err(error) => refusals.log(&self.worker, error.reason(), &error.to_string()),
                    }
                }
                Some(sent) = answers.next() => if let Err(problem) = sent {
                    refusals.log(&self.worker, "log_reply", &problem);
                },
            }
        }
    }

    async fn answer(
        &self,
        bus: &Bus,
        inbox: String,
        request: LogRequest,
        is_full: bool,
    ) -> Result<(), String> {
        let mut reply = LogReply {
            v: PROTOCOL_VERSION,
            stream: request.stream.clone(),
            session: self.session,
            next: request.from.unwrap_or(1),
            lines: Vec::new(),
            reason: None,
        };
        if is_full {
            reply.reason = Some(format!("{MAX_READERS} others read lines of this worker already"));
        } else {
            // Names and numbers of a line take some room, too; half is more than enough for texts.
            let bytes = MAX_REPLY_BYTES.min(bus.max_payload() / 2);
            let excerpt = self.book.read(&request, self.session, bytes).await;
            reply.next = excerpt.next;
            reply.lines = excerpt.lines;
        }
        bus.publish(inbox, &reply).await
    }
}
