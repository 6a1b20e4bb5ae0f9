//! URLs, answers, redirects and failures of one exchange.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

#[test]
fn urls_are_read_or_refused() {
    for (url, expected) in [
        ("http://h:1", "http://h:1"),
        ("h", "http://h:8001"),
        ("http://h:80", "http://h"),
        ("http://h:1/base/", "http://h:1/base"),
        ("http://[::1]:9/", "http://[::1]:9"),
        ("http://[::1]", "http://[::1]:8001"),
        ("https://h", "https://h"),
        ("https://h:8443/base", "https://h:8443/base"),
    ] {
        assert_eq!(Server::parse(url).unwrap().to_string(), expected);
    }
    for url in [
        "ftp://h",
        "",
        "http://",
        "http://u:p@h",
        "http://h/?x",
        "http://h:x",
    ] {
        assert!(Server::parse(url).is_err(), "{url}");
    }
}

#[test]
fn loopback_is_asked_without_a_proxy() {
    for (url, expected) in [
        ("http://127.0.0.1:1", true),
        ("http://[::1]:1", true),
        ("http://localhost", true),
        ("http://10.0.0.1", false),
        ("http://localhost.example", false),
    ] {
        assert_eq!(is_loopback(&Url::parse(url).unwrap()), expected, "{url}");
    }
}

/// What is made of one answer, given as bytes.
async fn read(raw: &'static str) -> Result<Answer, HttpError> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Server::parse(&listener.local_addr().unwrap().to_string()).unwrap();
    let answering = async {
        let (mut connection, _) = listener.accept().await.unwrap();
        let mut request = [0; 4_096];
        let _ = connection.read(&mut request).await.unwrap();
        connection.write_all(raw.as_bytes()).await.unwrap();
        connection.shutdown().await.unwrap();
    };
    tokio::join!(server.exchange(Method::GET, "/", None), answering).0
}

#[tokio::test]
async fn answers_are_read_whole_or_refused() {
    for (raw, status, body) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", 200, "{}"),
        ("HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\nx", 404, "x"),
        (
            "HTTP/1.1 302 Found\r\nLocation: http://h/\r\nContent-Length: 0\r\n\r\n",
            302,
            "",
        ),
    ] {
        let answer = read(raw).await.unwrap();
        assert_eq!(
            (answer.status, answer.body.as_slice()),
            (status, body.as_bytes()),
            "{raw}"
        );
    }
    for bad in [
        "SSH-2.0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ] {
        let error = read(bad).await.unwrap_err();
        assert!(matches!(error, HttpError::Malformed { .. }), "{bad:?}: {error}");
    }
}

/// Answers one request, and says what came.
async fn answer(listener: TcpListener, raw: String) -> String {
    let (mut connection, _) = listener.accept().await.unwrap();
    let mut request = vec![0; 4_096];
    let length = connection.read(&mut request).await.unwrap();
    connection.write_all(raw.as_bytes()).await.unwrap();
    connection.shutdown().await.unwrap();
    String::from_utf8_lossy(&request[..length]).into_owned()
}

#[tokio::test]
async fn a_standby_leads_to_the_leader_with_method_and_body() {
    let standby = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let leader = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = leader.local_addr().unwrap();
    let server = Server::parse(&standby.local_addr().unwrap().to_string()).unwrap();
    let redirect = format!(
        "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://{place}/x?y=1\r\nContent-Length: 0\r\n\r\n"
    );
    let (outcome, _, request) = tokio::join!(
        server.exchange(Method::PUT, "/x?y=1", Some(b"{}".to_vec())),
        answer(standby, redirect),
        answer(
            leader,
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}".to_owned()
        ),
    );
    assert_eq!(outcome.unwrap().status, 200);
    assert!(request.starts_with("PUT /x?y=1 HTTP/1.1"), "{request}");
}

#[tokio::test]
async fn a_redirect_to_another_path_is_not_followed() {
    let elsewhere = "HTTP/1.1 307 T\r\nLocation: http://h/login\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(read(elsewhere).await.unwrap().status, 307);
}

#[test]
fn text_is_encoded() {
    assert_eq!(encode("a b/c&d=é"), "a%20b%2Fc%26d%3D%C3%A9");
}

#[tokio::test]
async fn a_closed_port_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    for scheme in ["http", "https"] {
        let server = Server::parse(&format!("{scheme}://{address}")).unwrap();
        let error = server.exchange(Method::GET, "/", None).await.unwrap_err();
        assert!(matches!(error, HttpError::Unreachable { .. }), "{error}");
        assert!(error.to_string().contains(&address.to_string()), "{error}");
        assert!(error.to_string().contains("refused"), "{error}");
    }
}
