//! A user who declares, changes and deletes streams, and remembers what was acknowledged.

use std::collections::BTreeMap;

use streamkeeper_core::coordinator;
use streamkeeper_core::request::{ApplyError, ApplyOutcome, ApplyStreams, RequestId};
use streamkeeper_core::router::Input;
use streamkeeper_core::spec::StreamSpec;
use streamkeeper_protocol::{Ownership, StreamId};

use crate::random::Random;
use crate::shape::{Menu, Shape};
use crate::world::{Happening, World};

/// What the user knows of one stream: what was acknowledged last (none: not there), or nothing.
#[derive(Debug, Clone, PartialEq)]
enum Known {
    Acknowledged(Option<StreamSpec>),
    Unsure,
}

/// A change whose answer is missing.
#[derive(Debug)]
struct Asked {
    orchestrator: usize,
    stream: StreamId,
    spec: Option<StreamSpec>,
}

#[derive(Debug)]
pub(crate) struct User {
    random: Random,
    names: Vec<(StreamId, Ownership)>,
    known: BTreeMap<StreamId, Known>,
    asked: BTreeMap<RequestId, Asked>,
    requests: RequestId,
    /// After this time nothing is changed any more.
    pub(crate) idle_from: u64,
}

impl User {
    pub(crate) fn new(mut random: Random, shape: Shape) -> Self {
        let mut names = Vec::new();
        for number in 0..shape.streams {
            let ownership = if random.per_mille(shape.exclusive) {
                Ownership::Exclusive
            } else {
                Ownership::Available
            };
            names.push((StreamId::new(format!("s{number}")).unwrap(), ownership));
        }
        Self {
            random,
            names,
            known: BTreeMap::new(),
            asked: BTreeMap::new(),
            requests: 0,
            idle_from: if shape.menu == Menu::OrchestratorsOnly {
                20_000
            } else {
                u64::MAX
            },
        }
    }

    /// The answers of one orchestrator that are still missing will never come.
    pub(crate) fn nobody_knows(&mut self, orchestrator: usize) {
        let (lost, waiting) = std::mem::take(&mut self.asked)
            .into_iter()
            .partition(|(_, asked)| asked.orchestrator == orchestrator);
        self.asked = waiting;
        let lost: BTreeMap<_, _> = lost;
        for asked in lost.into_values() {
            self.known.insert(asked.stream, Known::Unsure);
        }
    }

    /// The database was restored: what is stored is asked for again.
    pub(crate) fn reads_again(&mut self, stored: &BTreeMap<StreamId, StreamSpec>) {
        for asked in std::mem::take(&mut self.asked).into_values() {
            self.known.insert(asked.stream, Known::Unsure);
        }
        for (stream, known) in &mut self.known {
            if matches!(known, Known::Acknowledged(_)) {
                *known = Known::Acknowledged(stored.get(stream).cloned());
            }
        }
    }

    fn is_asked(&self, stream: &StreamId) -> bool {
        self.asked.values().any(|asked| asked.stream == *stream)
    }

    pub(crate) fn acknowledged(&self) -> impl Iterator<Item = (&StreamId, Option<&StreamSpec>)> {
        self.known.iter().filter_map(|(stream, known)| match known {
            Known::Acknowledged(spec) if !self.is_asked(stream) => Some((stream, spec.as_ref())),
            _ => None,
        })
    }

    fn next(&mut self) -> Option<(StreamId, Option<StreamSpec>)> {
        let (stream, ownership) = self.random.pick(&self.names)?.clone();
        if self.is_asked(&stream) {
            return None;
        }
        let before = match self.known.get(&stream) {
            Some(Known::Acknowledged(spec)) => spec.clone(),
            _ => None,
        };
        let mut spec = before.clone().unwrap_or_else(|| StreamSpec {
            ownership,
            ..StreamSpec::new(stream.clone(), "source-0")
        });
        match self.random.between(0, 9) {
            0 if before.is_some() => return Some((stream, None)),
            1 if before.is_some() => spec.enabled = !spec.enabled,
            2 | 4 if before.is_some() => {
                spec.source = format!("source-{}", self.random.between(0, 99)).into()
            }
            3 => spec.weight = self.random.between(1, 3) as f64,
            _ if before.is_some() => return None,
            _ => {}
        }
        Some((stream, Some(spec)))
    }

    /// Every stream as it is to be at first.
    fn all(&self) -> Vec<StreamSpec> {
        let specs = self.names.iter().map(|(stream, ownership)| StreamSpec {
            ownership: *ownership,
            ..StreamSpec::new(stream.clone(), "source-0")
        });
        specs.collect()
    }
}

impl World {
    pub(crate) fn user_acts(&mut self) {
        let delay = self.user.random.between(20, self.shape.user_ms);
        self.after(delay, Happening::User);
        if !self.stormy || self.now >= self.user.idle_from {
            return;
        }
        // The API of a standby names the leader; now and then the user asks a wrong one all the same.
        let leader = (0..self.orchestrators.len()).find(|index| self.orchestrators[*index].leads());
        let any = self.user.random.draw() % self.orchestrators.len() as u64;
        let any = usize::try_from(any).unwrap_or(0);
        let index = leader.filter(|_| !self.user.random.per_mille(50)).unwrap_or(any);
        if self.orchestrators[index].process.is_none() {
            return;
        }
        if let Some((stream, spec)) = self.user.next() {
            self.ask(index, stream, spec);
        }
    }

    /// Declares every stream at once, as a file of streams does.
    pub(crate) fn declare_all(&mut self) {
        let Some(index) = (0..self.orchestrators.len()).find(|index| self.orchestrators[*index].leads())
        else {
            return;
        };
        for spec in self.user.all() {
            self.ask(index, spec.name.clone(), Some(spec));
        }
    }

    pub(crate) fn ask(&mut self, index: usize, stream: StreamId, spec: Option<StreamSpec>) {
        self.trace(format_args!(
            "user wants of o{index} {stream} {:?}",
            spec.as_ref().map(|spec| spec.enabled)
        ));
        self.user.requests += 1;
        let request = self.user.requests;
        let asked = Asked {
            orchestrator: index,
            stream: stream.clone(),
            spec: spec.clone(),
        };
        self.user.asked.insert(request, asked);
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
        let event = coordinator::Event::Apply { request, change };
        let work = crate::orchestrator::Work::Arrive(Box::new(Input::Coordinator(event)));
        self.later(index, 0, work);
    }

    pub(crate) fn replied(&mut self, request: RequestId, outcome: ApplyOutcome) {
        let Some(Asked { stream, spec, .. }) = self.user.asked.remove(&request) else {
            return;
        };
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
}
