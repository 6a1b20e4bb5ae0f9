//! S4 fenced-leader: a deposed leader changes nothing that its successor has changed.

use std::collections::BTreeMap;

use streamkeeper_protocol::{StreamId, Term};

/// The highest term that wrote something of a stream.
#[derive(Debug, Default)]
pub(super) struct Writers(BTreeMap<StreamId, Term>);

impl Writers {
    pub(super) fn wrote(&mut self, stream: &StreamId, term: Term) {
        let highest = self.0.entry(stream.clone()).or_default();
        assert!(
            *highest <= term,
            "S4 fenced-leader: term {term} changes {stream}, which term {highest} has changed"
        );
        *highest = term;
    }
}
