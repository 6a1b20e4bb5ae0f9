//! Faults on real processes and a real network: each round of a table hurts a fleet that runs, lets it recover, and has a
//! judge read what the commands of the streams wrote down themselves. It needs root: partitions are network namespaces.

mod clocks;
mod ledger;
mod messages;
mod pace;
mod rounds;
mod scene;
mod settle;
mod soak;
mod steps;
mod table;
mod writer;

use std::path::Path;

use streamkeeper_tests::network;

use pace::Pace;
use scene::Stage;

/// Runs every row of the table that is meant for this stage, on one fleet.
fn every_row(test: &str, stage: Stage) {
    if !network::in_hall(test) {
        return;
    }
    block_on(rounds::every_row(stage, Pace::brief()));
}

fn block_on(what: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(what);
}

#[test]
fn faults_on_postgresql() {
    every_row("faults_on_postgresql", Stage::Postgresql);
}

#[test]
fn faults_on_a_cluster() {
    every_row("faults_on_a_cluster", Stage::Cluster);
}

#[test]
fn faults_on_sqlite() {
    every_row("faults_on_sqlite", Stage::Sqlite);
}

#[test]
#[ignore = "takes from half an hour to hours: make soak ROUNDS=20"]
fn soak() {
    let rounds = std::env::var("ROUNDS")
        .ok()
        .and_then(|rounds| rounds.parse().ok());
    let rounds = rounds.expect("ROUNDS is a number, such as 20");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/soak");
    if network::is_hall() {
        block_on(soak::one_fleet(&folder, rounds));
        return;
    }
    let mut first = true;
    while !soak::is_done(&folder, rounds, first) {
        first = false;
        network::in_hall("soak");
    }
}
