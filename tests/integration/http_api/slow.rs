//! Clients that send too slowly are told so, and lose their connection.

use std::time::Duration;

use streamkeeper_orchestrator::adapter::http::TimeLimits;
use streamkeeper_tests::wait::GENEROUS;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::world::World;

/// Short ones, so that the tests need not wait long.
const SHORT: Duration = Duration::from_millis(300);

/// Everything that the server says to a request that is never complete, until it closes the connection or has said all.
async fn said(limits: TimeLimits, begun: &str, enough: &str) -> String {
    let world = World::with_limits(limits);
    let mut connection = TcpStream::connect(world.server.addr()).await.unwrap();
    connection.write_all(begun.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let reading = async {
        let mut chunk = [0; 4_096];
        loop {
            match connection.read(&mut chunk).await {
                Ok(0) | Err(_) => return,
                Ok(count) => answer.extend_from_slice(&chunk[..count]),
            }
            if String::from_utf8_lossy(&answer).contains(enough) {
                return;
            }
        }
    };
    tokio::time::timeout(GENEROUS, reading)
        .await
        .unwrap_or_else(|_| panic!("it is waited for for ever: {begun:?}"));
    String::from_utf8_lossy(&answer).into_owned()
}

#[actix::test]
async fn a_slow_head_ends_the_connection() {
    let limits = TimeLimits {
        head: SHORT,
        ..TimeLimits::default()
    };
    let answer = said(limits, "GET /livez HTTP/1.1\r\nHost: h\r\nX-Slow: ", "never").await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer:?}");
}

#[actix::test]
async fn a_slow_body_is_refused_with_a_problem() {
    let limits = TimeLimits {
        body: SHORT,
        ..TimeLimits::default()
    };
    for (method, path) in [
        ("PUT", "/api/v1/streams"),
        ("POST", "/api/v1/streams"),
        ("PUT", "/api/v1/streams/radio"),
        ("PATCH", "/api/v1/streams/radio"),
    ] {
        let begun = format!("{method} {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n{{\"str");
        let answer = said(limits, &begun, "}").await;
        assert!(answer.starts_with("HTTP/1.1 408"), "{method} {path}: {answer:?}");
        assert!(
            answer.contains("urn:streamkeeper:problem:body-timeout"),
            "{method} {path}: {answer:?}"
        );
    }
}
