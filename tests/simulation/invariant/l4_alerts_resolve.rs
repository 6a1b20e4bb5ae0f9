//! L4: every alert is over, for the leader and for whoever was told of it, and nobody is told twice that one fires.

use std::collections::BTreeMap;

use streamkeeper_core::alert_manager::{ActiveAlert, Adopted};

use super::{Broken, broken};
use crate::database::Kept;
use crate::world::World;

/// What a consumer of alerts believes.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// What fires, by fingerprint.
    firing: BTreeMap<String, Fires>,
    /// What was told twice.
    twice: Option<String>,
}

#[derive(Debug)]
struct Fires {
    what: String,
    /// Whether it is stored. One that is not is told again, or forgotten, where its leader dies before: the database was
    /// away.
    stored: bool,
}

impl Told {
    /// The database does not know any more what it has stored.
    pub(super) fn restored(&mut self) {
        self.firing.values_mut().for_each(|fires| fires.stored = false);
    }

    fn stored(&mut self, alerts: &[ActiveAlert]) {
        for alert in alerts {
            if let Some(fires) = self.firing.get_mut(&alert.fingerprint) {
                fires.stored = true;
            }
        }
    }

    fn fires(&self, alert: &ActiveAlert) -> bool {
        self.firing.contains_key(&alert.fingerprint)
    }

    fn hears(&mut self, alert: &ActiveAlert, fires: bool) {
        let name = alert.fingerprint.clone();
        if !fires {
            self.firing.remove(&name);
            return;
        }
        let what = format!("{} {:?}", alert.rule, alert.labels);
        let before = self.firing.insert(name, Fires { what, stored: false });
        if let Some(before) = before.filter(|before| before.stored) {
            self.twice.get_or_insert(before.what);
        }
    }
}

impl World {
    /// An alert begins or ends: it is stored, and then told. A database that is away holds up nobody; one that says that
    /// another leads does, unless it turns out that nobody else did.
    pub(crate) fn tell_alert(&mut self, index: usize, alert: ActiveAlert, fires: bool) {
        let kept = self.keep_alerts(index);
        match kept {
            Kept::Fenced => {
                self.sometimes.saw("alert of a leader that was deposed");
                if let Some(process) = self.orchestrators[index].process.as_mut() {
                    process.untold.push((alert, fires));
                }
                return;
            }
            Kept::Away => {
                self.sometimes.saw("alert that is not stored");
                // One that was deposed while it stood still cannot ask: what its successor has told it tells again.
                let term = self.orchestrators[index].process.as_ref();
                let term = term.and_then(|process| process.outliving.alerts_of);
                let deposed = term != Some(self.database.stored_term());
                if deposed && fires && self.watch.told.fires(&alert) {
                    return;
                }
            }
            Kept::Stored => {}
        }
        self.watch.told.hears(&alert, fires);
        self.know_stored(index, kept);
    }

    /// A leadership begins with these alerts.
    pub(crate) fn adopt_alerts(&mut self, index: usize, adopted: Adopted) {
        let Some(process) = self.orchestrators[index].process.as_mut() else {
            return;
        };
        if adopted.own {
            // What is stored and it does not know is over.
            let stored = process.outliving.cluster.inherited.alerts.iter();
            for alert in stored.filter(|alert| {
                !adopted
                    .alerts
                    .iter()
                    .any(|own| own.fingerprint == alert.fingerprint)
            }) {
                self.sometimes
                    .saw("alert that a restored database has from somebody else");
                self.watch.told.hears(alert, false);
            }
        }
        process.outliving.alerts_of = Some(adopted.term);
        process.outliving.alerts = adopted.alerts;
        let untold = std::mem::take(&mut process.untold);
        for (alert, fires) in untold.into_iter().filter(|_| adopted.own) {
            self.watch.told.hears(&alert, fires);
        }
        self.store_alerts(index);
    }

    /// Stores what fires.
    pub(crate) fn store_alerts(&mut self, index: usize) {
        let kept = self.keep_alerts(index);
        self.know_stored(index, kept);
    }

    fn keep_alerts(&mut self, index: usize) -> Kept {
        let orchestrator = &self.orchestrators[index];
        let reached = orchestrator.no_database_until <= self.now;
        let told = orchestrator
            .process
            .as_ref()
            .filter(|_| reached)
            .map(|process| &process.outliving);
        match told.and_then(|told| Some((told.alerts_of?, &told.alerts))) {
            Some((term, alerts)) => self.database.keep_alerts(term, alerts),
            None => Kept::Away,
        }
    }

    fn know_stored(&mut self, index: usize, kept: Kept) {
        if kept == Kept::Stored {
            self.watch.told.stored(self.orchestrators[index].alerts());
        }
    }

    pub(super) fn check_alerts(&self, leader: usize) -> Result<(), Broken> {
        let alerts = self.orchestrators[leader].alerts();
        broken(alerts.is_empty(), || format!("L4: {alerts:?}"))?;
        let told = &self.watch.told;
        broken(told.twice.is_none(), || {
            format!("L4: told twice: {:?}", told.twice)
        })?;
        let lost: Vec<&Fires> = told.firing.values().filter(|fires| fires.stored).collect();
        broken(lost.is_empty(), || {
            format!("L4: nobody said that it is over: {lost:?}")
        })
    }
}
