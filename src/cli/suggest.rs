//! "Did you mean": names that are near to one that does not exist.

use crate::api::{Api, ApiError};
use crate::failure::Failure;
use crate::{streams, workers};

/// Most names that are suggested.
const MAX_NAMES: usize = 3;
/// The status of an answer about something that does not exist.
const NOT_FOUND: u16 = 404;

/// What the names are names of.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Stream,
    Worker,
}

/// An error as a failure; where a name does not exist, with those that the user may have meant.
pub(crate) async fn failure(api: &Api, kind: Kind, typed: &[String], error: ApiError) -> Failure {
    let unknown = matches!(&error, ApiError::Problem(problem) if problem.status == NOT_FOUND);
    let mut failure = Failure::from(error);
    if !unknown {
        return failure;
    }
    // The error itself matters more than one that hinders the suggestion.
    let names = match kind {
        Kind::Stream => streams::names(api).await,
        Kind::Worker => workers::names(api).await,
    };
    let names = names.unwrap_or_default();
    for typed in typed.iter().filter(|typed| !names.contains(typed)) {
        let near = nearest(typed, &names);
        if !near.is_empty() {
            failure
                .text
                .push_str(&format!("\n  {typed}: did you mean {}?", near.join(" or ")));
        }
    }
    failure
}

/// The names that are near enough to be meant, the nearest first.
fn nearest<'a>(typed: &str, names: &'a [String]) -> Vec<&'a str> {
    let lower = typed.to_lowercase();
    let limit = (typed.chars().count() / 4).max(2);
    let mut near: Vec<(usize, &str)> = names
        .iter()
        .filter_map(|name| {
            let other = name.to_lowercase();
            let begins = !lower.is_empty() && other.starts_with(&lower);
            let distance = strsim::levenshtein(&lower, &other);
            (begins || distance <= limit).then_some((distance, name.as_str()))
        })
        .collect();
    near.sort_unstable();
    near.truncate(MAX_NAMES);
    near.into_iter().map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_come_first_and_strangers_never() {
        let names = ["radio-1", "radio-22", "Radio-3", "camera-front-door", "tv"].map(String::from);
        assert_eq!(nearest("radoi-1", &names), ["radio-1"]);
        assert_eq!(nearest("radio-2", &names), ["Radio-3", "radio-1", "radio-22"]);
        assert_eq!(nearest("camera", &names), ["camera-front-door"]);
        assert_eq!(nearest("nobody", &names), [""; 0]);
        assert_eq!(nearest("", &names), ["tv"]);
    }
}
