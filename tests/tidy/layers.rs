//! Which crate may see which, and which package is used where.

use std::path::Path;

/// (package whose name in code is the first, folders that may name it).
const PLACES: &[(&str, &[&str])] = &[
    (
        "sea_orm",
        &[
            "entities/",
            "migration/",
            "src/orchestrator/adapter/store/",
            "tests/",
        ],
    ),
    ("actix_web", &["src/orchestrator/adapter/http/", "tests/"]),
    (
        "async_nats",
        &[
            "src/access/",
            "src/orchestrator/adapter/nats/",
            "src/worker/",
            "src/agent/",
            "tests/",
        ],
    ),
];

#[test]
fn packages_stay_in_their_layer() {
    let mut wrong = Vec::new();
    for file in crate::rust_files() {
        let place = file.to_string_lossy().into_owned();
        if place.starts_with("tests/tidy/") {
            continue;
        }
        for (package, folders) in PLACES {
            let named = crate::read(&file).lines().any(|line| names(line, package));
            if named && !folders.iter().any(|folder| place.starts_with(folder)) {
                wrong.push(format!("{place} names {package}, which belongs into {folders:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn names(line: &str, package: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    code.contains(&format!("{package}::")) || code.contains(&format!("use {package}"))
}

/// (crate's folder, dependencies that it may never declare).
const FORBIDDEN: &[(&str, &[&str])] = &[
    (
        "src/protocol",
        &["tokio", "actix", "sea-orm", "async-nats", "streamkeeper-"],
    ),
    (
        "src/resilience",
        &["tokio", "actix", "sea-orm", "async-nats", "rand", "streamkeeper-"],
    ),
    ("src/access", &["actix", "sea-orm", "streamkeeper-"]),
    (
        "src/core",
        &[
            "tokio",
            "actix",
            "sea-orm",
            "async-nats",
            "rand",
            "streamkeeper-orchestrator",
        ],
    ),
    ("src/orchestrator", &["streamkeeper-worker", "streamkeeper-agent"]),
    (
        "src/worker",
        &[
            "actix",
            "sea-orm",
            "streamkeeper-core",
            "streamkeeper-orchestrator",
        ],
    ),
    (
        "src/agent",
        &[
            "actix",
            "sea-orm",
            "streamkeeper-core",
            "streamkeeper-orchestrator",
            "streamkeeper-protocol",
        ],
    ),
];

#[test]
fn crates_do_not_look_up() {
    let mut wrong = Vec::new();
    for (folder, forbidden) in FORBIDDEN {
        let manifest = crate::read(&Path::new(folder).join("Cargo.toml"));
        let dependencies = manifest.split("[dependencies]").nth(1).unwrap_or_default();
        for line in dependencies.lines() {
            if forbidden.iter().any(|name| line.starts_with(name)) {
                wrong.push(format!("{folder}: {line}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_worker_sdk_pulls_neither_actix_nor_the_database() {
    let output = std::process::Command::new(env!("CARGO"))
        .args([
            "tree",
            "--locked",
            "-p",
            "streamkeeper-worker",
            "-e",
            "normal",
            "--prefix",
            "none",
        ])
        .current_dir(crate::root())
        .output()
        .unwrap();
    let tree = String::from_utf8_lossy(&output.stdout);
    assert!(
        tree.contains("streamkeeper-protocol"),
        "cargo tree printed no tree: {tree}"
    );
    for package in ["actix", "sea-orm", "sqlx"] {
        assert!(
            !tree.lines().any(|line| line.starts_with(package)),
            "the SDK pulls {package}"
        );
    }
}
