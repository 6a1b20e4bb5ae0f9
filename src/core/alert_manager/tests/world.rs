//! An alert manager on a clock of its own, and who listens to it.

use std::collections::BTreeMap;

use super::super::*;
use super::SECOND;
use crate::consistency_checker::fixture::{at, healthy};

/// An alert manager and a consumer of its alerts that believes nothing.
pub(super) struct World {
    pub(super) manager: AlertManager,
    pub(super) now: u64,
    pub(super) cluster: ClusterState,
    pub(super) firing: BTreeMap<String, ActiveAlert>,
    /// `+rule worker=a` and `-rule worker=a`, since the last look.
    pub(super) news: Vec<String>,
    /// What people are paged for, with its incident, since the last look.
    pub(super) pages: Vec<String>,
    /// The last incident that was named.
    pub(super) newest: Option<IncidentId>,
    /// The last alert that was resolved.
    pub(super) over: Option<ActiveAlert>,
    /// Of each leadership that began: whether it went on with the manager's own alerts.
    pub(super) adopted: Vec<bool>,
}

impl World {
    pub(super) fn new() -> Self {
        let mut world = Self {
            manager: AlertManager::new(Config::default()),
            now: 100 * SECOND,
            cluster: healthy(),
            firing: BTreeMap::new(),
            news: Vec::new(),
            pages: Vec::new(),
            newest: None,
            over: None,
            adopted: Vec::new(),
        };
        world.show();
        world
    }

    pub(super) fn tell(&mut self, event: Event) {
        let commands = self.manager.handle(at(self.now), event);
        self.consume(commands);
    }

    pub(super) fn show(&mut self) {
        self.tell(Event::Snapshot(self.cluster.clone()));
    }

    pub(super) fn change(&mut self, change: impl FnOnce(&mut ClusterState)) {
        change(&mut self.cluster);
        self.show();
    }

    /// Lets time pass, as the actor would: a tick at every deadline.
    pub(super) fn wait(&mut self, ms: u64) {
        let end = self.now + ms;
        let mut ticks = 0;
        while let Some(due) = self.manager.next_deadline().filter(|due| due.as_ms() <= end) {
            assert!(due.as_ms() >= self.now, "a deadline in the past");
            self.now = due.as_ms();
            self.tell(Event::Tick);
            ticks += 1;
            assert!(ticks < 1_000, "it never rests");
        }
        self.now = end;
    }

    fn consume(&mut self, commands: Vec<Command>) {
        for command in commands {
            match command {
                Command::Adopt(Adopted { alerts, own, .. }) => {
                    self.adopted.push(own);
                    let named = alerts.into_iter().map(|alert| (alert.fingerprint.clone(), alert));
                    let adopted: BTreeMap<String, ActiveAlert> = named.collect();
                    // Words may be newer than those that were told.
                    let same = adopted.keys().eq(self.firing.keys());
                    assert!(!own || same, "its own are those that it told");
                    self.firing = adopted;
                }
                Command::Fire(alert) => {
                    self.news.push(format!("+{}", short(&alert)));
                    assert_eq!(alert.fingerprint.len(), 16);
                    let names: Vec<&str> = alert.annotations.keys().map(String::as_str).collect();
                    assert_eq!(names, ["description", "suggestion", "summary"]);
                    self.page(&alert);
                    let before = self.firing.insert(alert.fingerprint.clone(), alert);
                    assert_eq!(before, None, "fires already");
                }
                Command::Resolve(alert) => {
                    self.news.push(format!("-{}", short(&alert)));
                    self.over = Some(alert.clone());
                    let fired = self.firing.remove(&alert.fingerprint).expect("does not fire");
                    assert_eq!(
                        (fired.rule, fired.labels, fired.since),
                        (alert.rule, alert.labels, alert.since)
                    );
                }
                Command::Explain(alert) => {
                    self.page(&alert);
                    let name = alert.fingerprint.clone();
                    let before = self.firing.insert(name, alert.clone()).expect("does not fire");
                    assert_ne!(before, alert, "nothing changed");
                }
            }
        }
    }

    fn page(&mut self, alert: &ActiveAlert) {
        let incident = alert.incident.expect("every alert has an incident");
        self.newest = self.newest.max(Some(incident));
        if alert.explained_by.is_none() {
            self.pages.push(format!("{incident} {}", short(alert)));
        }
    }

    /// Whom people were paged for since the last call, after time to settle.
    pub(super) fn pages(&mut self) -> Vec<String> {
        self.wait(EVALUATION_DELAY.as_millis() as u64);
        std::mem::take(&mut self.pages)
    }

    /// The incidents of everything that fires, each alert with what explains it.
    pub(super) fn incidents(&self) -> BTreeMap<String, Vec<String>> {
        let mut incidents: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for alert in self.firing.values() {
            let by = alert.explained_by.as_ref().map_or_else(String::new, |by| {
                // Over, or risen again as an incident of its own.
                let by = self.firing.get(by).filter(|by| by.incident == alert.incident);
                let by = by.map_or("what is over", |alert| alert.rule);
                format!(" by {by}")
            });
            let incident = alert.incident.expect("every alert has an incident").to_string();
            incidents
                .entry(incident)
                .or_default()
                .push(format!("{}{by}", short(alert)));
        }
        incidents.values_mut().for_each(|alerts| alerts.sort());
        incidents
    }

    /// What was told since the last call, after time to settle.
    pub(super) fn news(&mut self) -> Vec<String> {
        self.wait(EVALUATION_DELAY.as_millis() as u64);
        std::mem::take(&mut self.news)
    }

    pub(super) fn description(&self) -> String {
        let texts = self
            .firing
            .values()
            .map(|alert| alert.annotations["description"].clone());
        texts.collect::<Vec<_>>().join("\n")
    }
}

fn short(alert: &ActiveAlert) -> String {
    let labels: String = alert
        .labels
        .iter()
        .map(|(name, value)| format!(" {name}={value}"))
        .collect();
    format!("{}{labels}", alert.rule)
}
