//! Servers that want to know who we are, and servers that we want to know.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use streamkeeper_access::Access;
use streamkeeper_orchestrator::adapter::nats::{NatsBus, NatsError, NatsSettings};
use streamkeeper_orchestrator::port::Bus;
use streamkeeper_protocol::OrchestratorId;
use streamkeeper_tests::authority::Authority;
use streamkeeper_tests::world::World;
use tempfile::TempDir;

use super::server::Server;
use super::{Notes, connect, connected, settings};

const USER: &str = "authorization { user: keeper, password: \"s3cret\" }";
const TOKEN: &str = "authorization { token: \"s3cret-token\" }";

pub(super) async fn refused(settings: NatsSettings) -> NatsError {
    assert!(!format!("{settings:?}").contains("s3cret"), "{settings:?}");
    let own = OrchestratorId::new("o").unwrap();
    let error = NatsBus::connect(settings, Arc::new(Notes::default()), own)
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(!text.contains("s3cret") && !text.contains("wr0ng"), "{text}");
    error
}

/// A server whose certificate `ca.pem` vouches for; `verify` asks clients for theirs.
pub(super) async fn tls_server(verify: bool) -> Server {
    let folder = TempDir::with_prefix("streamkeeper-tls-").unwrap();
    let authority = Authority::new(folder.path(), "ca");
    authority.vouch("server", "IP:127.0.0.1");
    authority.vouch("client", "DNS:keeper");
    Authority::new(folder.path(), "stranger").vouch("foreign", "DNS:keeper");
    let config = format!(
        "tls {{ cert_file: \"{{folder}}/server.pem\", key_file: \"{{folder}}/server-key.pem\", \
         ca_file: \"{{folder}}/ca.pem\", verify: {verify} }}"
    );
    Server::start_in(folder, &config).await
}

fn tls(server: &Server, ca: &str, own: Option<&str>) -> NatsSettings {
    with(
        &format!("tls://{}", server.address()),
        certificates(server, ca, own),
    )
}

/// The authority, and the own certificate, among a server's files.
pub(super) fn certificates(server: &Server, ca: &str, own: Option<&str>) -> Access {
    Access {
        tls_ca_file: Some(server.file(&format!("{ca}.pem"))),
        tls_cert_file: own.map(|name| server.file(&format!("{name}.pem"))),
        tls_key_file: own.map(|name| server.file(&format!("{name}-key.pem"))),
        ..Access::default()
    }
}

/// Settings that name themselves as those of the configuration.
pub(super) fn with(url: &str, access: Access) -> NatsSettings {
    let mut settings = settings(url.to_owned());
    let naming = settings.access.naming;
    settings.access = Access { naming, ..access };
    settings
}

#[tokio::test]
async fn a_password_is_taken_from_url_setting_or_file() {
    let server = Server::start(USER).await;
    let file = server.file("password");
    std::fs::write(&file, "s3cret\n").unwrap();
    let bare = settings(server.url());
    let user = Access {
        user: Some("keeper".to_owned()),
        ..Access::default()
    };
    let ways = [
        settings(format!("nats://keeper:s3cret@{}", server.address())),
        with(
            &server.url(),
            Access {
                password: Some("s3cret".to_owned()),
                ..user.clone()
            },
        ),
        with(
            &server.url(),
            Access {
                password_file: Some(file),
                ..user.clone()
            },
        ),
    ];
    for way in ways {
        let (bus, _) = connect(way).await;
        bus.ping().await.unwrap();
    }
    let wrong = Access {
        password: Some("wr0ng".to_owned()),
        ..user
    };
    let wrong = with(&server.url(), wrong);
    for (way, who) in [(wrong, "user \"keeper\""), (bare, "a client without user")] {
        let error = refused(way).await;
        assert!(matches!(error, NatsError::Refused { .. }), "{error}");
        let text = error.to_string();
        for part in [who, &server.url(), "nats.password_file"] {
            assert!(text.contains(part), "{text}");
        }
    }
}

#[tokio::test]
async fn a_token_is_taken_from_setting_or_file() {
    let server = Server::start(TOKEN).await;
    let file = server.file("token");
    std::fs::write(&file, "s3cret-token").unwrap();
    let token = |token: Option<&str>, file: Option<&Path>| {
        let access = Access {
            token: token.map(ToOwned::to_owned),
            token_file: file.map(ToOwned::to_owned),
            ..Access::default()
        };
        with(&server.url(), access)
    };
    for way in [token(Some("s3cret-token"), None), token(None, Some(&file))] {
        connect(way).await.0.ping().await.unwrap();
    }
    let error = refused(token(Some("wr0ng"), None)).await;
    assert!(error.to_string().contains("refuses the token"), "{error}");
    let error = refused(token(None, Some(&server.file("missing")))).await;
    assert!(matches!(error, NatsError::File { .. }), "{error}");
    assert!(error.to_string().contains("nats.token_file"), "{error}");
}

#[tokio::test]
async fn a_changed_password_file_is_read_at_the_next_connect() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, "s3cret").unwrap();
    let config = |password: &str| format!("authorization {{ user: keeper, password: \"{password}\" }}");
    let mut server = Server::start(&config("s3cret")).await;
    let access = Access {
        user: Some("keeper".to_owned()),
        password_file: Some(file.clone()),
        ..Access::default()
    };
    let (bus, _) = connect(with(&server.url(), access)).await;
    server.come_back_as(&config("s3cret-2")).await;
    connected(&bus, false).await;
    std::fs::write(&file, "s3cret-2").unwrap();
    connected(&bus, true).await;
}

#[tokio::test]
async fn tls_needs_a_known_authority() {
    let server = tls_server(false).await;
    let (bus, _) = connect(tls(&server, "ca", None)).await;
    bus.ping().await.unwrap();
    // Naming an authority is enough: nothing goes out in the clear.
    let (bus, _) = connect(NatsSettings {
        urls: vec![server.url()],
        ..tls(&server, "ca", None)
    })
    .await;
    bus.ping().await.unwrap();
    for stranger in [
        tls(&server, "stranger", None),
        settings(format!("tls://{}", server.address())),
    ] {
        let error = refused(stranger).await;
        assert!(matches!(error, NatsError::Untrusted { .. }), "{error}");
        assert!(error.to_string().contains("nats.tls_ca_file"), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_asks_for_a_certificate_gets_it() {
    let server = tls_server(true).await;
    let (bus, _) = connect(tls(&server, "ca", Some("client"))).await;
    bus.ping().await.unwrap();
    for stranger in [tls(&server, "ca", None), tls(&server, "ca", Some("foreign"))] {
        // The refusal may get lost in the end of the connection: then it is tried until the time is over.
        let brief = NatsSettings {
            connect_timeout: Duration::from_secs(2),
            ..stranger
        };
        let error = refused(brief).await;
        assert!(
            matches!(error, NatsError::Untrusted { .. } | NatsError::Unreachable { .. }),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_server_without_tls_gets_no_password_from_who_wants_tls() {
    let server = Server::start(USER).await;
    let folder = TempDir::new().unwrap();
    Authority::new(folder.path(), "ca");
    let access = Access {
        user: Some("keeper".to_owned()),
        password: Some("s3cret".to_owned()),
        tls_ca_file: Some(folder.path().join("ca.pem")),
        ..Access::default()
    };
    let error = refused(NatsSettings {
        connect_timeout: Duration::from_secs(2),
        ..with(&server.url(), access)
    })
    .await;
    assert!(
        matches!(error, NatsError::Untrusted { .. } | NatsError::Unreachable { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn serve_names_phase_server_and_remedy_and_never_the_password() {
    let world = World::new("wrong-password");
    let server = Server::start(USER).await;
    let file = world.write("password", "wr0ng\n");
    let password_file = format!("nats.password_file={}", file.display());
    let data = world.folder().join("data");
    let said = world
        .run(&[
            "serve",
            "--data",
            &data.to_string_lossy(),
            "--bind",
            "127.0.0.1:0",
            "--nats",
            &server.url(),
            "--set",
            "nats.user=keeper",
            "--set",
            &password_file,
        ])
        .await;
    let remedy = "nats.password_file";
    said.expect(1, &["phase \"nats\"", &server.url(), "user \"keeper\"", remedy]);
    assert!(!said.stderr.contains("wr0ng"), "{said:?}");
    // Each line is the program's own.
    for library in ["async_nats", "sea_orm", "actix_server"] {
        assert!(!said.stderr.contains(library), "{said:?}");
    }
}
