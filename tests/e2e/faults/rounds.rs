//! Rounds: a row of the table on a running fleet, and the verdict.

use streamkeeper_tests::history::{self, Trial, Verdict};
use tokio::time::Instant;

use crate::pace::Pace;
use crate::scene::{Scene, Stage};
use crate::steps::Roles;
use crate::table::{Effect, Row, TABLE};

/// What a round came to.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    pub(crate) seconds: f64,
    pub(crate) verdict: Verdict,
    /// Whether the next round can go on with this fleet.
    pub(crate) recovered: bool,
}

impl Outcome {
    /// One line of the report.
    pub(crate) fn line(&self, row: &Row, stage: Stage) -> String {
        let Verdict {
            broken,
            moves,
            evened,
            needless,
            overlap_ms,
            gap_available_ms,
            gap_exclusive_ms,
        } = &self.verdict;
        let said = if broken.is_empty() { KEPT } else { "BROKEN |" };
        format!(
            "| {} | {} | {:.0} | {moves} | {evened} | {needless} | {overlap_ms} | {gap_available_ms} | {gap_exclusive_ms} | {said}",
            row.name,
            stage.name(),
            self.seconds
        )
    }
}

/// The columns of [`Outcome::line`].
pub(crate) const HEAD: &str = "\
| fault | database | seconds | moves | evened | needless | overlap ms | longest gap available ms | longest gap exclusive ms | promises |
|---|---|---|---|---|---|---|---|---|---|";

/// How the line of a good round ends.
pub(crate) const KEPT: &str = "kept |";

impl Scene {
    /// One round, from the fault to the fleet that runs again.
    pub(crate) async fn round(&mut self, row: &Row) -> Outcome {
        let begin = Instant::now();
        let roles = Roles {
            agent: self.busiest(),
            leader: self.leader().await.expect("a settled fleet is led"),
        };
        self.led = vec![roles.leader];
        let from = history::now();
        for step in row.steps {
            self.step(roles, *step).await;
        }
        let recovered = self.settled().await;
        let trial = Trial {
            from,
            to: history::now(),
            exclusive: self.exclusive.clone(),
            available: self.available.clone(),
            hurt: match row.effect {
                Effect::Agent => [self.agents[roles.agent].part.id().to_owned()].into(),
                Effect::None | Effect::Lapse => [].into(),
            },
            lapse: row.effect == Effect::Lapse,
        };
        self.read();
        let mut verdict = self.history.judge(&trial);
        match &recovered {
            Ok(()) => {
                let api = self.leading().await;
                verdict.broken.extend(self.writer.broken(&api).await);
            }
            Err(reason) => verdict.broken.push(format!("L1 {reason}")),
        }
        if let Some(store) = &mut self.store {
            verdict.broken.extend(store.ledger.broken(&store.postgres));
        }
        let seconds = begin.elapsed().as_secs_f64();
        Outcome {
            seconds,
            verdict,
            recovered: recovered.is_ok(),
        }
    }
}

/// Runs every row that is meant for this stage, and fails with everything that was broken.
pub(crate) async fn every_row(stage: Stage, pace: Pace) {
    let mut scene = Scene::start(stage, pace).await;
    let only = std::env::var("FAULT").ok();
    let mut broken = Vec::new();
    println!("{HEAD}");
    for row in TABLE.iter().filter(|row| row.on.contains(&stage)) {
        if only
            .as_ref()
            .is_some_and(|only| !row.name.contains(only.as_str()))
        {
            continue;
        }
        let outcome = scene.round(row).await;
        println!("{}", outcome.line(row, stage));
        let told = outcome
            .verdict
            .broken
            .iter()
            .map(|what| format!("{}: {what}", row.name));
        broken.extend(told);
        if !outcome.recovered {
            break;
        }
    }
    assert!(
        broken.is_empty(),
        "{} promises were broken:\n{}",
        broken.len(),
        broken.join("\n")
    );
    assert!(scene.writer.acknowledged() > 0, "nothing was ever written");
}
