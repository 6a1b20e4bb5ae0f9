//! What leadership and leases need of each other, and what is said where they lack it.

use super::Backend;
use super::tests::{load, refused};

const SEVERAL: &str = "[nats]\nurls = [\"nats://h\"]\n[database]\nurl = \"postgres://h/d\"\n\
                       [leadership]\nbackend = \"nats\"\n";

#[test]
fn several_orchestrators_need_a_number_and_what_they_share() {
    let config = load(&format!("{SEVERAL}number = 0\n"), &[], &[]).unwrap().config;
    assert_eq!(config.leadership.backend, Backend::Nats);
    refused(
        SEVERAL,
        &[],
        &[],
        &["leadership.backend", "set leadership.number"],
    );
    refused(
        "[leadership]\nbackend = \"nats\"\nnumber = 1\n",
        &[],
        &[],
        &["name it in nats.urls", "name a PostgreSQL in database.url"],
    );
    let wildcard = ("--bind", "http.bind", "0.0.0.0:8001");
    refused(SEVERAL, &[], &[wildcard], &["flag --bind", "set http.api_url"]);
    let url = ("--set", "http.api_url", "http://o1:8001");
    let number = ("--set", "leadership.number", "15");
    load(SEVERAL, &[], &[wildcard, url, number]).unwrap();
}

#[test]
fn values_out_of_range_are_named() {
    for (file, parts) in [
        (
            "[leadership]\nnumber = 16\n",
            &[":2: leadership.number: is 16", "0 to 15"][..],
        ),
        (
            "[leadership]\nnumber = -1\n",
            &["leadership.number: -1 is not usable"],
        ),
        (
            "[leadership]\nbackend = \"raft\"\n",
            &["leadership.backend", "`file` or `nats`"],
        ),
        (
            "[leadership]\nrenew_every = \"3s\"\n",
            &["leadership.renew_every (3s)", "leadership.lease (6s)"],
        ),
        (
            "[leadership]\nrenew_every = \"0s\"\n",
            &["leadership.renew_every (0ns)"],
        ),
        ("[leadership]\nlease = \"11m\"\n", &["leadership.lease: is 660s"]),
        (
            "[http]\napi_url = \"o1:8001\"\n",
            &["http.api_url", "is no address of an API"],
        ),
    ] {
        refused(file, &[], &[], parts);
    }
}

/// OWNERSHIP rule 4, with its numbers.
#[test]
fn a_workers_lease_must_outlast_the_change_of_its_leader() {
    let several = |more: &str| format!("{SEVERAL}number = 1\n{more}");
    load(&several(""), &[], &[]).unwrap();
    let parts = [
        "6s × 1.01",
        "takeover 1.5s",
        "2 heartbeats 4.4s",
        "round trip 500ms",
        "= 12.46s",
    ];
    let longer = several("[lease]\nstop_budget = \"2100ms\"\n");
    refused(&longer, &[], &[], &parts);
    refused(
        &longer,
        &[],
        &[],
        &["lease.stop_budget", "(15s - 2.1s - 500ms = 12.4s)"],
    );
    let slower = several("lease = \"7s\"\n");
    refused(&slower, &[], &[], &[": leadership.lease: ", "= 13.47s"]);
    // One orchestrator has no leader to change; two heartbeats must fit all the same.
    load("[lease]\nduration = \"8s\"\n", &[], &[]).unwrap();
    refused(
        "[lease]\nduration = \"7s\"\n",
        &[],
        &[],
        &[":2: lease.duration: 2 heartbeats", "(7s - 2s - 500ms = 4.5s)"],
    );
}
