//! What the judge's log says of one fault, and many of them together. Pure: visits in, figures out.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

/// One reader of one stream. Times are microseconds on the judge's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Visit {
    /// In the order in which they began.
    pub(super) number: u64,
    pub(super) stream: String,
    pub(super) worker: String,
    pub(super) epoch: i64,
    pub(super) from_us: u64,
    /// When it had read its first byte.
    pub(super) heard_us: Option<u64>,
    /// None while it reads.
    pub(super) to_us: Option<u64>,
}

/// What was done to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Blow {
    pub(super) worker: String,
    /// Just before the signal.
    pub(super) at_us: u64,
}

/// What one fault cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(super) struct Cost {
    /// Streams that the worker ran.
    pub(super) lost: usize,
    /// Until the first of them was read elsewhere.
    pub(super) first_ms: f64,
    /// Until the last of them was.
    pub(super) last_ms: f64,
    /// Longest time for which a stream had two readers.
    pub(super) overlap_ms: f64,
    /// Moves of streams whose worker was well throughout.
    pub(super) needless_moves: usize,
}

/// Every stream that the worker ran, with the time until it was read elsewhere; none where it is not yet.
pub(super) fn replaced(visits: &[Visit], blow: &Blow) -> BTreeMap<String, Option<u64>> {
    let mut times: BTreeMap<String, Option<u64>> = visits
        .iter()
        .filter(|visit| {
            let since = visit.from_us <= blow.at_us && visit.to_us.is_none_or(|to| to >= blow.at_us);
            since && visit.worker == blow.worker
        })
        .map(|visit| (visit.stream.clone(), None))
        .collect();
    for visit in visits {
        let Some(heard) = visit.heard_us.filter(|heard| *heard >= blow.at_us) else {
            continue;
        };
        if visit.worker != blow.worker
            && let Some(time) = times.get_mut(&visit.stream)
        {
            let took = heard - blow.at_us;
            *time = Some(time.map_or(took, |earlier| earlier.min(took)));
        }
    }
    times
}

/// Moves since the fault away from workers that it did not hit.
pub(super) fn needless_moves(visits: &[Visit], blow: &Blow) -> usize {
    let mut owners: BTreeMap<&str, &str> = BTreeMap::new();
    let mut moves = 0;
    for visit in visits {
        let before = owners.insert(&visit.stream, &visit.worker);
        let healthy = before.is_some_and(|before| before != visit.worker && before != blow.worker);
        moves += usize::from(healthy && visit.from_us > blow.at_us);
    }
    moves
}

/// Streams whose reading was broken off, or begun anew, since then.
pub(super) fn disturbed(visits: &[Visit], since_us: u64) -> usize {
    let touched = visits
        .iter()
        .filter(|visit| visit.from_us >= since_us || visit.to_us.is_some_and(|to| to >= since_us));
    let streams: BTreeSet<&str> = touched.map(|visit| visit.stream.as_str()).collect();
    streams.len()
}

/// The longest time for which a stream had two readers.
pub(super) fn longest_overlap_us(visits: &[Visit], now_us: u64) -> u64 {
    let mut ends: BTreeMap<&str, u64> = BTreeMap::new();
    let mut longest = 0;
    for visit in visits {
        let to = visit.to_us.unwrap_or(now_us);
        let end = ends.entry(&visit.stream).or_default();
        longest = longest.max(to.min(*end).saturating_sub(visit.from_us));
        *end = to.max(*end);
    }
    longest
}

/// Readers of each stream now.
pub(super) fn readers(visits: &[Visit]) -> BTreeMap<&str, usize> {
    let mut readers: BTreeMap<&str, usize> = BTreeMap::new();
    for visit in visits {
        let open = visit.to_us.is_none() && visit.heard_us.is_some();
        *readers.entry(&visit.stream).or_default() += usize::from(open);
    }
    readers
}

/// The value below which so large a share (0 to 1) of the values lies, itself one of them; 0 of none.
pub(super) fn quantile(values: impl Iterator<Item = f64>, share: f64) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

/// Milliseconds with one decimal.
pub(super) fn millis(us: u64) -> f64 {
    (us as f64 / 100.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Visits as (stream, worker, from, to), heard 1 ms after they began, times in milliseconds.
    fn log(visits: &[(&str, &str, u64, Option<u64>)]) -> Vec<Visit> {
        visits
            .iter()
            .zip(1..)
            .map(|(&(stream, worker, from, to), number)| Visit {
                number,
                stream: stream.to_owned(),
                worker: worker.to_owned(),
                epoch: 1,
                from_us: from * 1_000,
                heard_us: Some((from + 1) * 1_000),
                to_us: to.map(|to| to * 1_000),
            })
            .collect()
    }

    fn blow(worker: &str) -> Blow {
        Blow {
            worker: worker.to_owned(),
            at_us: 100_000,
        }
    }

    #[test]
    fn the_time_runs_from_the_blow_to_the_first_byte_elsewhere() {
        let visits = log(&[
            ("s1", "a", 1, Some(104)),
            ("s2", "a", 2, Some(105)),
            ("s3", "b", 3, None),
            ("s4", "a", 4, Some(50)),
            ("s4", "b", 60, None),
            // Restarted where it was: that is nowhere else.
            ("s2", "a", 120, Some(121)),
            ("s1", "b", 149, None),
        ]);
        let times = replaced(&visits, &blow("a"));
        let expected = [("s1".to_owned(), Some(50_000)), ("s2".to_owned(), None)];
        assert_eq!(times, BTreeMap::from(expected));
        let mut visits = visits;
        visits.extend(log(&[("s2", "b", 199, None), ("s2", "c", 299, None)]));
        assert_eq!(
            replaced(&visits, &blow("a"))["s2"],
            Some(100_000),
            "the first counts"
        );
    }

    #[test]
    fn moves_of_the_healthy_are_needless() {
        let needless = |visits: &[(&str, &str, u64, Option<u64>)]| needless_moves(&log(visits), &blow("a"));
        assert_eq!(needless(&[("s", "a", 1, Some(104)), ("s", "b", 150, None)]), 0);
        assert_eq!(needless(&[("s", "b", 1, Some(104)), ("s", "b", 150, None)]), 0);
        assert_eq!(needless(&[("s", "b", 1, Some(104)), ("s", "c", 150, None)]), 1);
        assert_eq!(
            needless(&[("s", "b", 1, Some(50)), ("s", "c", 60, None)]),
            0,
            "before"
        );
        let again = [
            ("s", "a", 1, Some(104)),
            ("s", "b", 150, Some(160)),
            ("s", "c", 170, None),
        ];
        assert_eq!(needless(&again), 1);
    }

    #[test]
    fn streams_that_end_or_begin_are_disturbed() {
        let disturbed = |visits: &[(&str, &str, u64, Option<u64>)]| disturbed(&log(visits), 100_000);
        assert_eq!(disturbed(&[("s", "a", 1, None), ("t", "a", 1, Some(99))]), 0);
        assert_eq!(disturbed(&[("s", "a", 1, Some(104)), ("s", "a", 105, None)]), 1);
        assert_eq!(disturbed(&[("s", "a", 1, Some(104)), ("t", "b", 105, None)]), 2);
    }

    #[test]
    fn overlaps_are_found_behind_short_visits() {
        let longest = |visits: &[(&str, &str, u64, Option<u64>)]| longest_overlap_us(&log(visits), 300_000);
        assert_eq!(
            longest(&[("s", "a", 1, Some(5)), ("s", "b", 5, None), ("t", "b", 2, None)]),
            0
        );
        assert_eq!(longest(&[("s", "a", 1, Some(9)), ("s", "b", 5, None)]), 4_000);
        assert_eq!(longest(&[("s", "a", 1, None), ("s", "b", 250, None)]), 50_000);
        let hidden = [
            ("s", "a", 1, Some(90)),
            ("s", "b", 2, Some(3)),
            ("s", "c", 80, None),
        ];
        assert_eq!(longest(&hidden), 10_000);
    }

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let of = |values: &[f64], share| quantile(values.iter().copied(), share);
        assert_eq!(of(&[3.0, 1.0, 2.0], 0.5), 2.0);
        assert_eq!(of(&[3.0, 1.0, 2.0, 4.0], 0.5), 2.0);
        assert_eq!(of(&[3.0, 1.0, 2.0], 0.99), 3.0);
        assert_eq!(of(&[], 0.5), 0.0);
        let thirty: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!(of(&thirty, 0.99), 198.0);
    }

    #[test]
    fn readers_count_once_they_have_read() {
        let mut visits = log(&[("s", "a", 1, Some(9)), ("s", "b", 5, None), ("t", "b", 2, None)]);
        visits[2].heard_us = None;
        assert_eq!(readers(&visits), BTreeMap::from([("s", 1), ("t", 0)]));
    }
}
