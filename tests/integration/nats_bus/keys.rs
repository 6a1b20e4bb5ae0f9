//! Logins that sign: nkeys, and credentials files under an operator; and every login from a worker's side.

use std::path::Path;

use nkeys::KeyPair;
use streamkeeper_access::Access;
use streamkeeper_orchestrator::adapter::nats::NatsError;
use streamkeeper_orchestrator::port::Bus;
use streamkeeper_tests::operator::Operator;
use streamkeeper_worker::{ConnectError, ConnectSource, Identity, WorkerError, WorkerId, send_farewell};
use tempfile::TempDir;

use super::access::{certificates, refused, tls_server, with};
use super::server::Server;
use super::{connect, connected};
use crate::worker_driver::fixture::TestWorker;

fn credentials(file: &Path) -> Access {
    Access {
        credentials_file: Some(file.to_owned()),
        ..Access::default()
    }
}

fn seed(file: &Path) -> Access {
    Access {
        nkey_seed_file: Some(file.to_owned()),
        ..Access::default()
    }
}

fn source(url: &str, access: Access) -> ConnectSource {
    ConnectSource::Urls {
        urls: vec![url.to_owned()],
        prefix: "sk".to_owned(),
        access: Box::new(access),
    }
}

/// Both sides come in, and hear each other.
async fn welcome(url: &str, access: Access) {
    let (bus, notes) = connect(with(url, access.clone())).await;
    bus.ping().await.unwrap();
    let worker = TestWorker::start("w", source(url, access), None);
    notes.heard(1).await;
    worker.crash().await;
}

/// What a worker is told that is not let in.
async fn turned_away(url: &str, access: Access) -> String {
    let identity = Identity::new(WorkerId::new("w").unwrap());
    let told = send_farewell(&source(url, access), &identity).await;
    told.unwrap_err().to_string()
}

#[tokio::test]
async fn an_nkey_signs_and_is_named_where_it_is_not_known() {
    let (known, stranger) = (KeyPair::new_user(), KeyPair::new_user());
    let config = format!(
        "authorization {{ users: [ {{ nkey: {} }} ] }}",
        known.public_key()
    );
    let server = Server::start(&config).await;
    let file = server.file("seed");
    std::fs::write(&file, known.seed().unwrap()).unwrap();
    welcome(&server.url(), seed(&file)).await;

    std::fs::write(&file, stranger.seed().unwrap()).unwrap();
    let error = refused(with(&server.url(), seed(&file))).await;
    assert!(matches!(error, NatsError::Refused { .. }), "{error}");
    let (ours, theirs) = (error.to_string(), turned_away(&server.url(), seed(&file)).await);
    for (text, setting) in [(ours, "nats.nkey_seed_file"), (theirs, "nkey_seed_file")] {
        for part in ["refuses the nkey", &stranger.public_key(), &server.url(), setting] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains(&stranger.seed().unwrap()), "{text}");
    }
}

#[tokio::test]
async fn credentials_open_a_server_with_an_operator() {
    let operator = Operator::default();
    let server = Server::start(&operator.config()).await;
    let file = server.file("keeper.creds");
    std::fs::write(&file, operator.credentials(false)).unwrap();
    welcome(&server.url(), credentials(&file)).await;

    let another = Operator::default();
    for bad in [operator.credentials(true), another.credentials(false)] {
        std::fs::write(&file, bad).unwrap();
        let error = refused(with(&server.url(), credentials(&file))).await;
        assert!(matches!(error, NatsError::Refused { .. }), "{error}");
        let theirs = turned_away(&server.url(), credentials(&file)).await;
        for text in [error.to_string(), theirs] {
            for part in ["the credentials of user U", "expired", "credentials_file"] {
                assert!(text.contains(part), "{part}: {text}");
            }
        }
    }
}

#[tokio::test]
async fn changed_credentials_are_read_at_the_next_connect() {
    let (first, second) = (Operator::default(), Operator::default());
    let mut server = Server::start(&first.config()).await;
    let file = server.file("keeper.creds");
    std::fs::write(&file, first.credentials(false)).unwrap();
    let (bus, notes) = connect(with(&server.url(), credentials(&file))).await;
    let worker = TestWorker::start("w", source(&server.url(), credentials(&file)), None);
    let before = notes.heard(1).await.len();
    server.come_back_as(&second.config()).await;
    connected(&bus, false).await;
    std::fs::write(&file, second.credentials(false)).unwrap();
    connected(&bus, true).await;
    notes.heard(before + 2).await;
    worker.crash().await;
}

#[tokio::test]
async fn workers_come_with_password_token_and_certificate() {
    let server = Server::start("authorization { user: keeper, password: s3cret }").await;
    let file = server.file("secret");
    std::fs::write(&file, "s3cret\n").unwrap();
    let user = Access {
        user: Some("keeper".to_owned()),
        ..Access::default()
    };
    let password = Access {
        password: Some("s3cret".to_owned()),
        ..user.clone()
    };
    let from_file = Access {
        password_file: Some(file.clone()),
        ..user.clone()
    };
    for way in [password, from_file] {
        welcome(&server.url(), way).await;
    }
    let wrong = Access {
        password: Some("wr0ng".to_owned()),
        ..user
    };
    let told = turned_away(&server.url(), wrong).await;
    assert!(
        told.contains("refuses user \"keeper\"") && !told.contains("wr0ng"),
        "{told}"
    );

    let server = Server::start("authorization { token: s3cret }").await;
    let token = Access {
        token_file: Some(file),
        ..Access::default()
    };
    welcome(&server.url(), token).await;

    let server = tls_server(true).await;
    let url = format!("tls://{}", server.address());
    welcome(&url, certificates(&server, "ca", Some("client"))).await;
    let told = turned_away(&url, certificates(&server, "stranger", Some("client"))).await;
    assert!(
        told.contains("no trust over TLS") && told.contains("tls_ca_file"),
        "{told}"
    );
}

#[tokio::test]
async fn a_worker_does_not_start_without_its_files() {
    let folder = TempDir::new().unwrap();
    let missing = folder.path().join("missing");
    let cert = Access {
        tls_ca_file: Some(missing.clone()),
        ..Access::default()
    };
    for (access, setting) in [(credentials(&missing), "credentials_file"), (cert, "tls_ca_file")] {
        let worker = TestWorker::start("w", source("nats://127.0.0.1:1", access), None);
        let Err(WorkerError::Connect(ConnectError::Access(error))) = worker.ended().await else {
            panic!("it started without {setting}");
        };
        assert_eq!((error.setting.as_str(), &error.path), (setting, &missing));
    }
}
