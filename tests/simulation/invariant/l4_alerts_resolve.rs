//! L4: every alert is over, for the leader and for whoever was told of it, and nobody is told twice that one fires.

use std::collections::BTreeMap;

use streamkeeper_core::alert_manager::ActiveAlert;

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

    fn fires(&mut self, alert: &ActiveAlert, stored: bool) {
        let what = format!("{} {:?}", alert.rule, alert.labels);
        let before = self
            .firing
            .insert(alert.fingerprint.clone(), Fires { what, stored });
        if let Some(before) = before.filter(|before| before.stored) {
            self.twice.get_or_insert(before.what);
        }
    }

    fn over(&mut self, alert: &ActiveAlert) {
        self.firing.remove(&alert.fingerprint);
    }
}

impl World {
    /// An alert begins or ends: it is stored, and then told. A database that is away holds up nobody; one that says that
    /// another leads does.
    pub(crate) fn tell_alert(&mut self, index: usize, alert: &ActiveAlert, fires: bool) {
        let kept = self.keep_alerts(index);
        if kept == Kept::Fenced {
            return self.sometimes.saw("alert of a leader that was deposed");
        }
        if kept == Kept::Away {
            self.sometimes.saw("alert that is not stored");
        }
        if fires {
            self.watch.told.fires(alert, kept == Kept::Stored);
        } else {
            self.watch.told.over(alert);
        }
    }

    /// Stores what fires.
    pub(crate) fn keep_alerts(&mut self, index: usize) -> Kept {
        let orchestrator = &self.orchestrators[index];
        let Some(process) = orchestrator.process.as_ref() else {
            return Kept::Away;
        };
        let Some(term) = process
            .outliving
            .alerts_of
            .filter(|_| orchestrator.no_database_until <= self.now)
        else {
            return Kept::Away;
        };
        let alerts = &process.outliving.alerts;
        let kept = self.database.keep_alerts(term, alerts);
        if kept == Kept::Stored {
            self.watch.told.stored(alerts);
        }
        kept
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
