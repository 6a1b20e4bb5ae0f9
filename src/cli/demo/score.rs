//! What the radio's log says of the whole demo. Pure: the log and the deaths of agents in, numbers out.
//!
//! - A *duplicate* is a connection that began while another one to the same channel was open, unless the channel was handed
//!   over: the new one is of another agent, and the old one ended within the time that a move may overlap.
//! - A *move* is a connection whose agent is not the one of the connection before. It is *needless* unless the agent
//!   before had died, or had at least two channels more than the new one, so that the move made the load more even.
//! - A *reconnect* is a connection of the same agent again, which did not die in between.

use std::collections::BTreeMap;

use serde::Serialize;

use super::audience::Visit;

/// How long two agents may listen to a channel that is handed over: `migration.overlap_limit`, whose default the demo has.
const MAX_OVERLAP_US: u64 = 10_000_000;

/// An agent that was killed, or ended by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Death {
    pub(super) agent: String,
    /// On the clock of the log.
    pub(super) at_us: u64,
}

/// The interruption of one channel whose agent died.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Gap {
    pub(super) channel: u16,
    /// Who listens now.
    pub(super) agent: String,
    /// From the end of the old connection to the beginning of the new one: nobody listened.
    pub(super) silent_us: u64,
    /// From the kill to the beginning of the new connection.
    pub(super) failover_us: u64,
}

/// What `--json` says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Score {
    pub(super) streams: usize,
    /// Channels with exactly one listener at the end.
    pub(super) running: usize,
    /// Agents that listen at the end.
    pub(super) workers: usize,
    pub(super) killed_worker: Option<String>,
    pub(super) streams_lost: usize,
    /// From the kill until the first of them was heard again.
    pub(super) failover_first_ms: Option<u64>,
    /// From the kill until the last of them was heard again.
    pub(super) failover_last_ms: Option<u64>,
    /// Streams that went to the killed worker after its return.
    pub(super) streams_returned: usize,
    pub(super) duplicates: usize,
    pub(super) moves_total: usize,
    pub(super) moves_needless: usize,
    pub(super) reconnects: usize,
}

/// The first connections after those that `death` ended; `Err` has the channels that nobody has heard again.
pub(super) fn gaps(visits: &[Visit], death: &Death) -> Result<Vec<Gap>, Vec<u16>> {
    let mut gaps = Vec::new();
    let mut silent = Vec::new();
    for old in lost(visits, death) {
        let next = visits
            .iter()
            .find(|visit| visit.channel == old.channel && visit.connection > old.connection);
        match (old.to_us, next) {
            (Some(to_us), Some(next)) => gaps.push(Gap {
                channel: old.channel,
                agent: next.listener.clone(),
                silent_us: next.from_us.saturating_sub(to_us),
                failover_us: next.from_us.saturating_sub(death.at_us),
            }),
            _ => silent.push(old.channel),
        }
    }
    gaps.sort_by_key(|gap| gap.channel);
    if silent.is_empty() { Ok(gaps) } else { Err(silent) }
}

/// The connections that an agent had when it died.
pub(super) fn lost<'a>(visits: &'a [Visit], death: &'a Death) -> impl Iterator<Item = &'a Visit> {
    visits.iter().filter(|visit| {
        visit.listener == death.agent
            && visit.from_us <= death.at_us
            && visit.to_us.is_none_or(|to_us| to_us >= death.at_us)
    })
}

/// Who listens to each channel now.
pub(super) fn listening(visits: &[Visit]) -> BTreeMap<u16, Vec<&Visit>> {
    let mut now: BTreeMap<u16, Vec<&Visit>> = BTreeMap::new();
    for visit in visits.iter().filter(|visit| visit.to_us.is_none()) {
        now.entry(visit.channel).or_default().push(visit);
    }
    now
}

/// Counts everything. The first death is the one that the demo is about.
pub(super) fn score(visits: &[Visit], channels: u16, deaths: &[Death]) -> Score {
    let now = listening(visits);
    let mut workers: Vec<&str> = now
        .values()
        .flatten()
        .map(|visit| visit.listener.as_str())
        .collect();
    workers.sort_unstable();
    workers.dedup();
    let mut score = Score {
        streams: usize::from(channels),
        running: now.values().filter(|open| open.len() == 1).count(),
        workers: workers.len(),
        duplicates: duplicates(visits),
        ..Score::default()
    };
    count_moves(visits, deaths, &mut score);
    if let Some(death) = deaths.first() {
        score.killed_worker = Some(death.agent.clone());
        score.streams_lost = lost(visits, death).count();
        score.streams_returned = returned(visits, death);
        if let Ok(gaps) = gaps(visits, death) {
            let times = || gaps.iter().map(|gap| gap.failover_us / 1_000);
            score.failover_first_ms = times().min();
            score.failover_last_ms = times().max();
        }
    }
    score
}

/// Channels that came to the agent after its death, whether they are still there or not.
fn returned(visits: &[Visit], death: &Death) -> usize {
    let mut channels: Vec<u16> = visits
        .iter()
        .filter(|visit| visit.listener == death.agent && visit.from_us > death.at_us)
        .map(|visit| visit.channel)
        .collect();
    channels.sort_unstable();
    channels.dedup();
    channels.len()
}

fn duplicates(visits: &[Visit]) -> usize {
    let mut before: BTreeMap<u16, Vec<&Visit>> = BTreeMap::new();
    let mut duplicates = 0;
    for visit in visits {
        let others = before.entry(visit.channel).or_default();
        let open = |other: &&&Visit| other.to_us.is_none_or(|end| end > visit.from_us);
        let mut open = others.iter().filter(open);
        if open.any(|other| !is_handed_over(other, visit)) {
            duplicates += 1;
        }
        others.push(visit);
    }
    duplicates
}

fn is_handed_over(from: &Visit, to: &Visit) -> bool {
    let ended = from.to_us.is_some_and(|end| end <= to.from_us + MAX_OVERLAP_US);
    ended && from.listener != to.listener
}

fn count_moves(visits: &[Visit], deaths: &[Death], score: &mut Score) {
    let mut owners: BTreeMap<u16, &Visit> = BTreeMap::new();
    let mut load: BTreeMap<&str, usize> = BTreeMap::new();
    for visit in visits {
        let (agent, old) = (visit.listener.as_str(), owners.insert(visit.channel, visit));
        if let Some(old) = old {
            let before = old.listener.as_str();
            let died = deaths
                .iter()
                .any(|death| death.agent == before && (old.from_us..=visit.from_us).contains(&death.at_us));
            let counted = |agent: &str| load.get(agent).copied().unwrap_or_default();
            if before == agent {
                score.reconnects += usize::from(!died);
            } else {
                score.moves_total += 1;
                let evens = counted(before) >= counted(agent) + 2;
                score.moves_needless += usize::from(!died && !evens);
            }
            if let Some(count) = load.get_mut(before) {
                *count = count.saturating_sub(1);
            }
        }
        *load.entry(agent).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Visits as (channel, agent, from, to), in order.
    fn log(visits: &[(u16, &str, u64, Option<u64>)]) -> Vec<Visit> {
        visits
            .iter()
            .zip(1..)
            .map(|(&(channel, listener, from, to), connection)| Visit {
                connection,
                channel,
                listener: listener.to_owned(),
                from_us: from * 1_000,
                to_us: to.map(|to| to * 1_000),
            })
            .collect()
    }

    fn death(agent: &str, at_ms: u64) -> Death {
        Death {
            agent: agent.to_owned(),
            at_us: at_ms * 1_000,
        }
    }

    #[test]
    fn a_death_and_a_return_are_counted_from_the_log() {
        let visits = log(&[
            (1, "a", 10, None),
            (2, "b", 11, Some(105)),
            (3, "b", 12, Some(103)),
            (2, "a", 300, Some(1_000)),
            (3, "a", 400, None),
            (2, "b", 1_200, None),
        ]);
        let deaths = [death("b", 100)];
        let score = score(&visits, 3, &deaths);
        let expected = Score {
            streams: 3,
            running: 3,
            workers: 2,
            killed_worker: Some("b".into()),
            streams_lost: 2,
            failover_first_ms: Some(200),
            failover_last_ms: Some(300),
            streams_returned: 1,
            duplicates: 0,
            moves_total: 3,
            moves_needless: 0,
            reconnects: 0,
        };
        assert_eq!(score, expected);
        let gaps = gaps(&visits, &deaths[0]).unwrap();
        let silent: Vec<u64> = gaps.iter().map(|gap| gap.silent_us / 1_000).collect();
        assert_eq!(silent, [195, 297]);
        assert_eq!(super::gaps(&visits[..3], &deaths[0]), Err(vec![2, 3]));
    }

    #[test]
    fn an_overlap_is_a_duplicate_unless_the_channel_is_handed_over() {
        let count = |visits: &[(u16, &str, u64, Option<u64>)]| duplicates(&log(visits));
        let long = MAX_OVERLAP_US / 1_000;
        assert_eq!(
            count(&[(1, "a", 1, Some(5)), (1, "b", 5, None), (2, "a", 3, None)]),
            0
        );
        assert_eq!(count(&[(1, "a", 1, Some(6)), (1, "b", 5, None)]), 0);
        assert_eq!(count(&[(1, "a", 1, Some(6)), (1, "a", 5, None)]), 1);
        assert_eq!(count(&[(1, "a", 1, Some(6 + long)), (1, "b", 5, None)]), 1);
        assert_eq!(
            count(&[(1, "a", 1, None), (1, "b", 5, Some(6)), (1, "a", 7, None)]),
            2
        );
        // The short one in the middle does not hide the long one.
        assert_eq!(
            count(&[(1, "a", 1, Some(9)), (1, "b", 2, Some(3)), (1, "a", 8, None)]),
            1
        );
    }

    #[test]
    fn a_move_needs_a_reason() {
        let needless = |visits: &[(u16, &str, u64, Option<u64>)], deaths: &[Death]| {
            let score = score(&log(visits), 3, deaths);
            (score.moves_total, score.moves_needless, score.reconnects)
        };
        let three = [(1, "a", 1, Some(50)), (2, "a", 2, None), (3, "b", 3, None)];
        let with = |last| [three[0], three[1], three[2], last];
        // From 2 and 1 to 1 and 2: as uneven as before.
        assert_eq!(needless(&with((1, "b", 60, None)), &[]), (1, 1, 0));
        // From 2 and 0 to 1 and 1.
        assert_eq!(needless(&with((1, "c", 60, None)), &[]), (1, 0, 0));
        // Its agent died.
        assert_eq!(needless(&with((1, "b", 60, None)), &[death("a", 49)]), (1, 0, 0));
        assert_eq!(needless(&with((1, "b", 60, None)), &[death("a", 70)]), (1, 1, 0));
        // The same agent again.
        assert_eq!(needless(&with((1, "a", 60, None)), &[]), (0, 0, 1));
        assert_eq!(needless(&with((1, "a", 60, None)), &[death("a", 49)]), (0, 0, 0));
    }
}
