//! How the demo ends: what was counted, and whether all was as promised.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::cast::Cast;
use super::judge::{one_each, shares};
use super::score::{self, Score};
use crate::failure::Failure;

/// Longest wait for an even end: somebody may have killed something just now.
const PATIENCE: Duration = Duration::from_secs(5);

/// Counts, once every channel has exactly one listener or the patience is over.
pub(super) async fn count(cast: &Cast) -> Score {
    let deadline = Instant::now() + PATIENCE;
    while one_each(cast.audience()).is_err() && Instant::now() < deadline {
        sleep(Duration::from_millis(100)).await;
    }
    score::score(
        &cast.audience().visits(),
        cast.audience().channels(),
        &cast.deaths,
    )
}

/// Everything that was not as promised.
pub(super) fn judge(cast: &Cast, score: &Score) -> Result<(), Failure> {
    let mut wrong = complaints(score);
    if !cast.told {
        wrong.push("it was ended before the story was told".to_owned());
    }
    if let Err(text) = one_each(cast.audience()) {
        wrong.push(text);
    }
    let strangers: Vec<String> = shares(cast.audience())
        .into_keys()
        .filter(|name| !cast.agents.iter().any(|agent| agent.name == *name))
        .collect();
    if !strangers.is_empty() {
        wrong.push(format!("somebody else listens: {}", strangers.join(", ")));
    }
    match wrong.as_slice() {
        [] => Ok(()),
        some => Err(Failure::failed(some.join("\n  "))),
    }
}

fn complaints(score: &Score) -> Vec<String> {
    let mut wrong = Vec::new();
    if score.running != score.streams {
        wrong.push(format!(
            "{} of {} streams run on exactly one agent",
            score.running, score.streams
        ));
    }
    if score.duplicates > 0 {
        wrong.push(format!(
            "{} connections began while another one to the same channel was open",
            score.duplicates
        ));
    }
    if score.moves_needless > 0 {
        wrong.push(format!(
            "{} of {} moves were needless",
            score.moves_needless, score.moves_total
        ));
    }
    if let Some(killed) = &score.killed_worker {
        if score.streams_lost == 0 {
            wrong.push(format!("{killed} had no stream when it was killed"));
        } else if score.failover_last_ms.is_none() {
            wrong.push(format!("not every stream of {killed} was heard again"));
        }
        if score.streams_returned == 0 {
            wrong.push(format!("no stream returned to {killed}"));
        }
    }
    wrong
}

/// The end of the story, for people.
pub(super) fn summary(score: &Score) -> Vec<String> {
    let ms = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms"));
    let mut lines = vec![format!(
        "{} of {} streams run on exactly one agent; {} duplicates, {} moves, of which {} were needless",
        score.running, score.streams, score.duplicates, score.moves_total, score.moves_needless
    )];
    if let Some(killed) = &score.killed_worker {
        lines.push(format!(
            "{killed} lost {} streams: the first was heard again {}, the last {} after the kill; {} returned to it",
            score.streams_lost,
            ms(score.failover_first_ms),
            ms(score.failover_last_ms),
            score.streams_returned
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    type Break = fn(&mut Score);

    fn good() -> Score {
        Score {
            streams: 30,
            running: 30,
            workers: 3,
            killed_worker: Some("agent-3".into()),
            streams_lost: 10,
            failover_first_ms: Some(900),
            failover_last_ms: Some(1_500),
            streams_returned: 10,
            moves_total: 20,
            ..Score::default()
        }
    }

    #[test]
    fn every_broken_promise_is_named() {
        assert_eq!(complaints(&good()), Vec::<String>::new());
        let cases: [(Break, &str); 6] = [
            (|score| score.running = 29, "29 of 30"),
            (|score| score.duplicates = 1, "1 connections began while another"),
            (|score| score.moves_needless = 2, "2 of 20 moves were needless"),
            (|score| score.streams_lost = 0, "had no stream"),
            (
                |score| score.failover_last_ms = None,
                "not every stream of agent-3",
            ),
            (
                |score| score.streams_returned = 0,
                "no stream returned to agent-3",
            ),
        ];
        for (break_it, part) in cases {
            let mut score = good();
            break_it(&mut score);
            let complaints = complaints(&score);
            assert!(
                complaints.len() == 1 && complaints[0].contains(part),
                "{part:?} is missing in {complaints:?}"
            );
        }
    }
}
