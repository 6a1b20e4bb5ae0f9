//! The built-in reader: a whole agent reads from a server that does whatever its paths say.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use crate::agent::{Leader, agent};
use crate::support::{DEADLINE, kill, nats};

/// `u:s3cret`
const LOGIN: &str = "authorization: Basic dTpzM2NyZXQ=";

/// First byte of who speaks TLS.
const TLS_HANDSHAKE: u8 = 22;

/// A server on a free port.
async fn serve() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (connection, _) = listener.accept().await.unwrap();
            // The reader hangs up at will.
            tokio::spawn(async move {
                let _ = answer(connection).await;
            });
        }
    });
    port
}

async fn answer(mut connection: TcpStream) -> std::io::Result<()> {
    let mut request = String::new();
    while !request.ends_with("\r\n\r\n") {
        let byte = connection.read_u8().await?;
        if byte == TLS_HANDSHAKE {
            return connection.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
        request.push(char::from(byte));
    }
    let path = request.split_whitespace().nth(1).unwrap_or_default();
    let allowed = request.lines().any(|line| line.eq_ignore_ascii_case(LOGIN));
    let (head, forever): (&str, bool) = match path {
        "/live" => ("HTTP/1.1 200 OK\r\n\r\n", true),
        "/login?token=t0ken" if allowed => ("HTTP/1.0 200 OK\r\n\r\n", true),
        "/login?token=t0ken" => ("HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n", false),
        "/icy" => ("ICY 200 OK\r\nicy-name: x\r\n\r\n", true),
        "/icy-full" => ("ICY 401 Service Unavailable\r\n\r\n", false),
        "/moved" => (
            "HTTP/1.1 302 Found\r\nlocation: /live\r\ncontent-length: 0\r\n\r\n",
            false,
        ),
        "/circle" => (
            "HTTP/1.1 302 Found\r\nlocation: /circle\r\ncontent-length: 0\r\n\r\n",
            false,
        ),
        "/moved-away" => (
            "HTTP/1.1 302 Found\r\nlocation: /gone?t0ken\r\ncontent-length: 0\r\n\r\n",
            false,
        ),
        "/ends" => ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n12345", false),
        "/breaks" => ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n12345", false),
        "/stalls" => ("HTTP/1.1 200 OK\r\n\r\n12345", false),
        "/silent" => ("", false),
        "/other" => ("SSH-2.0-OpenSSH\r\n", false),
        _ => ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", false),
    };
    connection.write_all(head.as_bytes()).await?;
    if forever {
        loop {
            connection.write_all(&[7; 4_000]).await?;
            sleep(Duration::from_millis(50)).await;
        }
    }
    if matches!(path, "/stalls" | "/silent") {
        // Until the reader hangs up.
        let _ = connection.read_u8().await;
    }
    Ok(())
}

fn of<'a>(heartbeat: &'a Value, stream: &str) -> Option<&'a Value> {
    let running = heartbeat["inventory"]["running"].as_array()?;
    running.iter().find(|entry| entry["stream"] == stream)
}

#[tokio::test]
async fn every_fate_of_a_source_is_told_without_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let (_server, url) = nats(folder.path()).await;
    let port = serve().await;
    let base = format!("http://127.0.0.1:{port}");
    let flows = ["live", "login", "icy", "moved"];
    let fails = [
        ("denied", "answers 401 Unauthorized; check user and password"),
        ("missing", "answers 404 Not Found; the source may be off air"),
        ("icy-full", "answers ICY 401 Service Unavailable"),
        ("circle", "redirected in vain: too many redirects"),
        ("moved-away", "/gone, which answers 404 Not Found"),
        ("ends", "the source ended the stream after 5 bytes"),
        ("breaks", "the connection broke after 5 bytes: "),
        ("stalls", "stalled: no byte for 3s after 5 bytes"),
        ("silent", "no answer within 3s"),
        ("other", "the answer is neither HTTP nor ICY"),
        ("tls", "cannot connect: "),
        ("nobody", "cannot connect: Connection refused"),
        ("scheme", "rtsp://u:***@h/x: only http:// and https:// are read"),
        ("no-url", "http://u:***@h:99999/: no URL: invalid port number"),
    ];
    let source = |name: &str| match name {
        "login" => format!("http://u:s3cret@127.0.0.1:{port}/login?token=t0ken"),
        "denied" => format!("http://u:wrong-s3cret@127.0.0.1:{port}/login?token=t0ken"),
        "tls" => format!("https://u:s3cret@127.0.0.1:{port}/live"),
        "nobody" => "http://u:s3cret@127.0.0.1:1/live?t0ken".to_owned(),
        "scheme" => "rtsp://u:s3cret@h/x".to_owned(),
        "no-url" => "http://u:s3cret@h:99999/".to_owned(),
        path => format!("{base}/{path}"),
    };
    let names = flows.into_iter().chain(fails.map(|(name, _)| name));
    let sources: Vec<(&str, String)> = names.map(|name| (name, source(name))).collect();
    let streams: Vec<(&str, &str)> = sources
        .iter()
        .map(|(name, source)| (*name, source.as_str()))
        .collect();

    let mut leader = Leader::new(&url).await;
    let mut process = agent(folder.path(), &url, "http");
    leader.want_all(&streams, 4_294_967_297);
    for stream in flows {
        let runs = |beat: &Value| of(beat, stream).is_some_and(|entry| entry["state"] == "running");
        leader.until(stream, runs).await;
    }
    for (stream, reason) in fails {
        let told = |beat: &Value| {
            let told = of(beat, stream).and_then(|entry| entry["reason"].as_str());
            told.is_some_and(|told| told.contains(reason))
        };
        let beat = leader.until(&format!("{stream}: {reason}"), told).await;
        let text = beat.to_string();
        assert!(!text.contains("s3cret") && !text.contains("t0ken"), "{text}");
    }
    let counted = |beat: &Value| {
        let mut told = beat["performance"].as_array().into_iter().flatten();
        told.any(|told| {
            let above_zero = |field: &str| told[field].as_u64() > Some(0);
            told["stream"] == "stalls" && above_zero("stalls") && above_zero("reconnects")
        })
    };
    leader
        .until("stalls that are counted over attempts", counted)
        .await;
    // None of the good ones was ever restarted.
    let beat = leader
        .until("a heartbeat", |beat| of(beat, "live").is_some())
        .await;
    for stream in flows {
        assert_eq!(of(&beat, stream).unwrap()["restarts"], 0, "{stream}");
    }

    kill(i32::try_from(process.id().unwrap()).unwrap(), Signal::TERM);
    leader
        .until("an orderly end", |beat| beat["phase"] == "gone")
        .await;
    let status = timeout(DEADLINE, process.wait()).await.unwrap().unwrap();
    assert!(status.success(), "{status}");
}
