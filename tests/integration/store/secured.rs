//! PostgreSQL over TLS: who is trusted, and what is said where nobody is.

use std::path::Path;

use streamkeeper_orchestrator::adapter::store::{OpenError, SeaStore, StoreOptions, probe};
use streamkeeper_orchestrator::port::Store;
use streamkeeper_tests::authority::Authority;
use streamkeeper_tests::postgres::Postgres;
use streamkeeper_tests::wait;
use tempfile::TempDir;

use super::backend::lead;

/// A server for `names`, whose authority is `ca.pem`; `stranger.pem` is another one.
async fn secured(names: &str, host: &str) -> (Postgres, TempDir) {
    let folder = TempDir::with_prefix("streamkeeper-tls-").unwrap();
    let authority = Authority::new(folder.path(), "ca");
    authority.vouch("server", names);
    authority.vouch("keeper", "DNS:keeper");
    Authority::new(folder.path(), "stranger").vouch("foreign", "DNS:keeper");
    let server = Postgres::start().await;
    server.offer_tls(folder.path(), host);
    // The reload takes a moment: whoever comes in the clear is refused from then on.
    let clear = format!("{}?sslmode=disable", server.url());
    let reloaded = wait::until(wait::GENEROUS, async || {
        match probe(&clear, wait::GENEROUS).await {
            Err(OpenError::Refused { .. }) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    reloaded.await.unwrap();
    (server, folder)
}

fn with(url: &str, mode: &str, root: Option<&Path>) -> String {
    let root = root.map(|root| format!("&sslrootcert={}", root.display()));
    format!("{url}?sslmode={mode}{}", root.unwrap_or_default())
}

async fn welcome(url: &str) {
    let store = SeaStore::open(url, &StoreOptions::default()).await.unwrap();
    store.ping().await.unwrap();
    store.close().await.unwrap();
}

#[track_caller]
fn told(error: &OpenError, parts: &[&str]) {
    let text = error.to_string();
    assert!(!error.may_pass(), "{text}");
    for part in parts {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("keeper-secret"), "{text}");
}

async fn refused(url: &str) -> OpenError {
    SeaStore::open(url, &StoreOptions::default()).await.unwrap_err()
}

#[tokio::test]
async fn every_connection_is_encrypted_and_the_server_is_who_it_should_be() {
    let (server, files) = secured("IP:127.0.0.1,DNS:localhost", "scram-sha-256").await;
    let url = server.url();
    let (ca, stranger) = (files.path().join("ca.pem"), files.path().join("stranger.pem"));
    welcome(&url).await;
    for (mode, root) in [
        ("prefer", None),
        ("require", None),
        ("require", Some(ca.as_path())),
        ("verify-ca", Some(&ca)),
        ("verify-full", Some(&ca)),
    ] {
        welcome(&with(&url, mode, root)).await;
    }
    welcome(&with(
        &url.replace("127.0.0.1", "localhost"),
        "verify-full",
        Some(&ca),
    ))
    .await;

    // The connections of the pool as well, not only the first one.
    let url_of_pool = with(&url, "verify-full", Some(&ca));
    let store = SeaStore::open(&url_of_pool, &StoreOptions::default())
        .await
        .unwrap();
    lead(&store, 1).await;
    let clear = "SELECT count(*), count(*) FILTER (WHERE ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                 WHERE usename = 'keeper'";
    let counts = server.sql(clear);
    let (all, encrypted) = counts.split_once('|').unwrap();
    assert!(all != "0" && all == encrypted, "{counts}");

    for (mode, root) in [
        ("require", Some(stranger.as_path())),
        ("verify-ca", Some(&stranger)),
        ("verify-full", Some(&stranger)),
        ("verify-full", None),
    ] {
        told(
            &refused(&with(&url, mode, root)).await,
            &["UnknownIssuer", "sslrootcert=FILE"],
        );
    }
    let clear = refused(&with(&url, "disable", None)).await;
    told(&clear, &["no encryption", "pg_hba.conf"]);
}

#[tokio::test]
async fn a_server_of_another_name_is_refused() {
    let (server, files) = secured("DNS:db.example", "scram-sha-256").await;
    let ca = files.path().join("ca.pem");
    welcome(&with(&server.url(), "verify-ca", Some(&ca))).await;
    for host in ["127.0.0.1", "localhost"] {
        let url = server.url().replace("127.0.0.1", host);
        let error = refused(&with(&url, "verify-full", Some(&ca))).await;
        told(
            &error,
            &["db.example", host, "as the server's certificate names it"],
        );
    }
}

#[tokio::test]
async fn a_server_that_asks_for_a_certificate_gets_it() {
    let host = "scram-sha-256 clientcert=verify-full";
    let (server, files) = secured("IP:127.0.0.1", host).await;
    let url = with(&server.url(), "verify-full", Some(&files.path().join("ca.pem")));
    let own = |name: &str| {
        let file = |end| {
            files
                .path()
                .join(format!("{name}{end}.pem"))
                .display()
                .to_string()
        };
        format!("{url}&sslcert={}&sslkey={}", file(""), file("-key"))
    };
    welcome(&own("keeper")).await;
    told(&refused(&url).await, &["certificate", "sslcert=FILE"]);
    let foreign = own("foreign");
    // The server's answer may get lost in the end of the connection.
    let error = wait::until(wait::GENEROUS, async || match refused(&foreign).await {
        error if error.may_pass() => Err(error.to_string()),
        error => Ok(error),
    });
    told(&error.await.unwrap(), &["sslcert=FILE"]);
}
