//! The orders that were answered: an order that comes twice is answered twice and done once.

use std::collections::VecDeque;

use streamkeeper_protocol::ControlReply;

/// Most answers that are remembered; a leader repeats an order within seconds or never.
const MAX_REMEMBERED: usize = 256;

/// The newest answers.
#[derive(Debug, Default)]
pub(super) struct Orders {
    replies: VecDeque<ControlReply>,
}

impl Orders {
    /// The answer that this order got.
    pub(super) fn answered(&self, id: &str) -> Option<&ControlReply> {
        self.replies.iter().find(|reply| reply.id == id)
    }

    /// Remembers an answer, and forgets the oldest one where there are too many.
    pub(super) fn remember(&mut self, reply: ControlReply) {
        if self.replies.len() >= MAX_REMEMBERED {
            self.replies.pop_front();
        }
        self.replies.push_back(reply);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_are_remembered() {
        let mut orders = Orders::default();
        for number in 0..=MAX_REMEMBERED {
            orders.remember(ControlReply {
                v: 1,
                id: number.to_string(),
                done: true,
                reason: None,
            });
        }
        assert_eq!(orders.answered("0"), None);
        assert!(orders.answered("1").is_some_and(|reply| reply.done));
        assert_eq!(orders.replies.len(), MAX_REMEMBERED);
    }
}
