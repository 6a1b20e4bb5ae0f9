//! "Did you mean": the known name that is nearest to a mistyped one.

/// The name of `known` that is nearest to `typed`, if one is near enough to be meant.
pub(super) fn nearest<'a>(typed: &str, known: impl Iterator<Item = &'a str> + Clone) -> Option<&'a str> {
    let typed_last = last(typed);
    let same_last = || known.clone().find(|name| last(name) == typed_last);
    let close = known
        .clone()
        .map(|name| (distance(typed, name), name))
        .min()
        .filter(|(distance, _)| *distance <= (typed.len() / 4).max(2))
        .map(|(_, name)| name);
    let close_last = || {
        known
            .clone()
            .map(|name| (distance(typed_last, last(name)), name))
            .min()
            .filter(|(distance, _)| *distance <= (typed_last.len() / 4).max(1))
            .map(|(_, name)| name)
    };
    close.or_else(same_last).or_else(close_last)
}

fn last(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or(key)
}

/// How many letters must be added, taken away or changed (Levenshtein 1965).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (j, other) in b.iter().enumerate() {
            let above = row.get(j + 1).copied().unwrap_or(usize::MAX);
            let changed = diagonal + usize::from(letter != *other);
            if let Some(cell) = row.get_mut(j) {
                *cell = left;
            }
            left = changed.min(above.saturating_add(1)).min(left + 1);
            diagonal = above;
        }
        if let Some(cell) = row.last_mut() {
            *cell = left;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_counted_in_letters() {
        for (a, b, expected) in [
            ("", "", 0),
            ("a", "", 1),
            ("kitten", "sitting", 3),
            ("bind", "bnid", 2),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
            assert_eq!(distance(b, a), expected, "{b} {a}");
        }
    }

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
