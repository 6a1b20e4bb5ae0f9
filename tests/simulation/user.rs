//! A user who declares, changes and deletes streams, and remembers what was acknowledged.

use std::collections::BTreeMap;

use streamkeeper_core::coordinator;
use streamkeeper_core::request::{ApplyError, ApplyOutcome, ApplyStreams, RequestId};
use streamkeeper_core::router::Input;
use streamkeeper_core::spec::StreamSpec;
use streamkeeper_protocol::StreamId;

use crate::random::Random;
use crate::world::{Happening, World};

/// What the user knows of one stream: what was acknowledged last (none: not there), or nothing.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Known {
    Acknowledged(Option<StreamSpec>),
    Unsure,
}

#[derive(Debug)]
pub(crate) struct User {
    random: Random,
    names: Vec<StreamId>,
    pub(crate) known: BTreeMap<StreamId, Known>,
    asked: BTreeMap<RequestId, (StreamId, Option<StreamSpec>)>,
    requests: RequestId,
    /// When a stream was changed by the user last.
    pub(crate) changed: BTreeMap<StreamId, u64>,
}

impl User {
    pub(crate) fn new(random: Random, streams: u64) -> Self {
        let names = (0..streams).map(|number| StreamId::new(format!("s{number}")).unwrap());
        Self {
            random,
            names: names.collect(),
            known: BTreeMap::new(),
            asked: BTreeMap::new(),
            requests: 0,
            changed: BTreeMap::new(),
        }
    }

    /// The answers that are still missing will never come.
    pub(crate) fn nobody_knows(&mut self) {
        for (_, (stream, _)) in std::mem::take(&mut self.asked) {
            self.known.insert(stream, Known::Unsure);
        }
    }

    fn is_asked(&self, stream: &StreamId) -> bool {
        self.asked.values().any(|(asked, _)| asked == stream)
    }

    pub(crate) fn acknowledged(&self) -> impl Iterator<Item = (&StreamId, Option<&StreamSpec>)> {
        self.known.iter().filter_map(|(stream, known)| match known {
            Known::Acknowledged(spec) if !self.is_asked(stream) => Some((stream, spec.as_ref())),
            _ => None,
        })
    }

    fn next(&mut self) -> Option<(StreamId, Option<StreamSpec>)> {
        let stream = self.random.pick(&self.names)?.clone();
        if self.is_asked(&stream) {
            return None;
        }
        let before = match self.known.get(&stream) {
            Some(Known::Acknowledged(spec)) => spec.clone(),
            _ => None,
        };
        let mut spec = before
            .clone()
            .unwrap_or_else(|| StreamSpec::new(stream.clone(), "source-0"));
        match self.random.between(0, 9) {
            0 if before.is_some() => return Some((stream, None)),
            1 if before.is_some() => spec.enabled = !spec.enabled,
            2 | 4 if before.is_some() => spec.source = format!("source-{}", self.random.between(0, 99)),
            3 => spec.weight = self.random.between(1, 3) as f64,
            _ if before.is_some() => return None,
            _ => {}
        }
        Some((stream, Some(spec)))
    }
}

impl World {
    pub(crate) fn user_acts(&mut self) {
        let delay = self.user.random.between(20, 1_000);
        self.after(delay, Happening::User);
        if self.orchestrator.is_none() || !self.stormy {
            return;
        }
        let Some((stream, spec)) = self.user.next() else {
            return;
        };
        self.trace(format_args!(
            "user wants {stream} {:?}",
            spec.as_ref().map(|spec| spec.enabled)
        ));
        self.user.requests += 1;
        let request = self.user.requests;
        self.user.changed.insert(stream.clone(), self.now);
        self.user.asked.insert(request, (stream.clone(), spec.clone()));
        let change = match spec {
            Some(spec) => ApplyStreams {
                streams: vec![spec],
                ..ApplyStreams::default()
            },
            None => ApplyStreams {
                delete: vec![stream],
                ..ApplyStreams::default()
            },
        };
        self.post(Input::Coordinator(coordinator::Event::Apply { request, change }));
    }

    pub(crate) fn replied(&mut self, request: RequestId, outcome: ApplyOutcome) {
        let Some((stream, spec)) = self.user.asked.remove(&request) else {
            return;
        };
        self.user.changed.insert(stream.clone(), self.now);
        match outcome {
            Ok(_) => {
                self.sometimes.saw("change acknowledged");
                self.user.known.insert(stream, Known::Acknowledged(spec));
                self.check_durable();
            }
            Err(ApplyError::Ambiguous(_)) => {
                self.sometimes.saw("change of which nobody knows");
                self.user.known.insert(stream, Known::Unsure);
            }
            Err(_) => self.sometimes.saw("change refused"),
        }
    }

    /// S3 nothing-lost: what was acknowledged is in the database, whatever happened since.
    pub(crate) fn check_durable(&self) {
        for (stream, spec) in self.user.acknowledged() {
            let stored = self.database.streams.get(stream);
            assert_eq!(stored, spec, "S3 nothing-lost: {stream}");
        }
    }
}
