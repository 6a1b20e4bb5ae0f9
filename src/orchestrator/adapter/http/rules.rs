//! Rules that contradict each other are refused before anything is changed; those that only cannot be kept today are named in
//! the answer.

use actix_web::web::block;
use streamkeeper_core::contradiction::{Contradiction, Degree, contradictions};
use streamkeeper_core::request::ApplyStreams;

use super::problem::{ErrorItem, Kind, Problem};
use super::{Shared, body};

/// How a body names the streams that it changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    /// `{"streams": [{…}]}`.
    Many,
    /// The stream itself.
    One,
    /// `{"names": […]}`.
    Names,
    /// `{"to": …}`: a verb about a worker that is there.
    Pin,
}

impl Written {
    /// What is refused; the rest is a warning. Whoever names a worker to a verb means the one that is there.
    fn refuses(self, degree: Degree) -> bool {
        degree == Degree::Impossible || (self == Self::Pin && degree == Degree::Unfit)
    }

    fn pointer(self, change: &ApplyStreams, found: &Contradiction) -> String {
        match self {
            Self::Many => {
                let mut streams = change.streams.iter();
                let index = streams.position(|spec| spec.name == found.stream);
                format!("/streams/{}/{}", index.unwrap_or_default(), found.field)
            }
            Self::One => format!("/{}", found.field),
            Self::Names => {
                let mut names = change.enable.iter();
                let index = names.position(|(name, _)| *name == found.stream);
                format!("/names/{}", index.unwrap_or_default())
            }
            Self::Pin => "/to".to_owned(),
        }
    }
}

/// Refuses what cannot be; gives the change back with what cannot be kept today. Large changes take a while.
pub(super) async fn check(
    shared: &Shared,
    change: ApplyStreams,
    written: Written,
) -> Result<(ApplyStreams, Vec<Contradiction>), Problem> {
    let cluster = shared.cluster();
    let looked = block(move || {
        let found = contradictions(&cluster, &change);
        (change, found)
    });
    let (change, found) = looked
        .await
        .map_err(|error| Problem::new(Kind::Internal, error.to_string()))?;
    let errors = found.iter().filter(|found| written.refuses(found.degree));
    let errors = errors.map(|found| {
        let detail = format!("stream {}: {} {}", found.stream, found.field, found.detail);
        ErrorItem::pointer(written.pointer(&change, found), detail)
    });
    body::refuse(errors.collect())?;
    Ok((change, found))
}
