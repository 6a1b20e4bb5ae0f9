//! "Did you mean": the known name that is nearest to a mistyped one.

use strsim::levenshtein;

/// The name of `known` that is nearest to `typed`, if one is near enough to be meant.
pub(super) fn nearest<'a>(typed: &str, known: impl Iterator<Item = &'a str> + Clone) -> Option<&'a str> {
    let typed_last = last(typed);
    let same_last = || known.clone().find(|name| last(name) == typed_last);
    let close = known
        .clone()
        .map(|name| (levenshtein(typed, name), name))
        .min()
        .filter(|(distance, _)| *distance <= (typed.len() / 4).max(2))
        .map(|(_, name)| name);
    let close_last = || {
        known
            .clone()
            .map(|name| (levenshtein(typed_last, last(name)), name))
            .min()
            .filter(|(distance, _)| *distance <= (typed_last.len() / 4).max(1))
            .map(|(_, name)| name)
    };
    close.or_else(same_last).or_else(close_last)
}

fn last(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_near_names_are_suggested() {
        let known = ["http.bind", "heartbeat.timeout"];
        let near = |typed| nearest(typed, known.iter().copied());
        assert_eq!(near("htpp.bind"), Some("http.bind"));
        assert_eq!(near("timeout"), Some("heartbeat.timeout"));
        assert_eq!(near("hb.timout"), Some("heartbeat.timeout"));
        assert_eq!(near("colour"), None);
    }
}
