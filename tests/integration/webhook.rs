//! A webhook on real sockets: what a server may do wrong harms nobody, and what it may be told is judged.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use streamkeeper_core::time::Timestamp;
use streamkeeper_orchestrator::adapter::alert::{Webhook, WebhookOptions};
use streamkeeper_orchestrator::port::Clock;
use streamkeeper_orchestrator::port::alert_sink::{AlertSink, Change, SinkError};
use streamkeeper_orchestrator::webhook::Template;
use streamkeeper_protocol::{Alert, AlertStatus, PROTOCOL_VERSION, Severity};
use streamkeeper_tests::hook::Request;
use streamkeeper_tests::wait::GENEROUS;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

const SECRET: &str = "0123456789abcdef";
/// Far more than an answer has.
const GIGABYTE: usize = 1024 * 1024 * 1024;

struct Noon;

impl Clock for Noon {
    fn now(&self) -> Timestamp {
        Timestamp::ZERO
    }

    fn wall(&self, _at: Timestamp) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)
    }
}

fn options(url: String) -> WebhookOptions {
    WebhookOptions {
        url,
        secret: Some(SECRET.to_owned()),
        private_addresses: true,
        timeout: Duration::from_secs(2),
        per_minute: 60,
        template: None,
    }
}

fn webhook(options: WebhookOptions) -> Webhook {
    let hides = |text: &str| Cow::Owned(text.replace("s3cret", "***"));
    Webhook::new(options, Arc::new(Noon), hides).unwrap_or_else(|reason| panic!("{reason}"))
}

fn change() -> Change {
    Change {
        severity: Severity::Critical,
        rule: "worker_lost".to_owned(),
        message: Alert {
            v: PROTOCOL_VERSION,
            status: AlertStatus::Firing,
            labels: [("alertname".to_owned(), "worker_lost".to_owned())].into(),
            annotations: [("summary".to_owned(), "rtsp://u:s3cret@camera is gone".to_owned())].into(),
            starts_at: "2026-01-01T00:00:00Z".to_owned(),
            ends_at: None,
            fingerprint: "0123456789abcdef".to_owned(),
            incident: None,
            explained_by: None,
        },
    }
}

/// A server on loopback that reads one request of each connection and hands it to `answer` with the connection.
async fn server<F>(answer: impl Fn(Request, TcpStream) -> F + Send + 'static) -> (String, JoinHandle<()>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            if let Some(request) = Request::read(&mut stream).await {
                tokio::spawn(answer(request, stream));
            }
        }
    });
    (url, serving)
}

/// What the sink says where the server sends these bytes.
async fn says(answer: String) -> Result<(), SinkError> {
    let (url, _serving) = server(move |_, mut stream| {
        let answer = answer.clone();
        async move {
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    })
    .await;
    webhook(options(url)).take(&change()).await
}

#[tokio::test]
async fn the_usual_body_is_signed_and_holds_no_secret() {
    let (sender, mut requests) = tokio::sync::mpsc::channel(1);
    let (url, _serving) = server(move |request, mut stream| {
        let sender = sender.clone();
        async move {
            sender.send(request).await.unwrap();
            let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
        }
    })
    .await;
    webhook(options(url)).take(&change()).await.unwrap();
    let request = requests.recv().await.unwrap();
    let body = request.body.as_str();
    assert!(request.head.starts_with("POST /hook HTTP/1.1"), "{request:?}");
    assert_eq!(
        request.header("idempotency-key"),
        "0123456789abcdef-firing-2026-01-01T00:00:00Z"
    );
    let timestamp = request.header("x-streamkeeper-timestamp");
    assert_eq!(timestamp, "1700000000");
    let mut openssl = tokio::process::Command::new("openssl")
        .args(["dgst", "-sha256", "-hmac", SECRET])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let signed = format!("{timestamp}.{body}");
    let mut stdin = openssl.stdin.take().unwrap();
    stdin.write_all(signed.as_bytes()).await.unwrap();
    drop(stdin);
    let said = openssl.wait_with_output().await.unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    let expected = said.trim().rsplit(' ').next().unwrap();
    assert_eq!(
        request.header("x-streamkeeper-signature"),
        format!("sha256={expected}")
    );
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(
        body["alerts"][0]["annotations"]["summary"],
        "rtsp://u:***@camera is gone"
    );
    assert_eq!(
        (&body["version"], &body["status"]),
        (&"4".into(), &"firing".into())
    );
}

#[tokio::test]
async fn a_template_makes_the_body() {
    let (url, _serving) = server(|request, mut stream| async move {
        let fine = request.body == "{\"text\": \"rtsp://u:***@camera is gone\"}";
        let status = if fine { "200 OK" } else { "400 Bad Request" };
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
        let _ = stream.write_all(answer.as_bytes()).await;
    })
    .await;
    let template = Template::new("{\"text\": {{ annotations.summary }}}").unwrap();
    let told = webhook(WebhookOptions {
        template: Some(template),
        ..options(url)
    });
    told.take(&change()).await.unwrap();
}

#[tokio::test]
async fn what_the_server_answers_decides_whether_it_is_tried_again() {
    let answer = |status: &str, more: &str| format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n{more}\r\n");
    assert_eq!(says(answer("202 Accepted", "")).await, Ok(()));
    for status in [
        "500 Internal Server Error",
        "503 Service Unavailable",
        "404 Not Found",
        "401 Unauthorized",
    ] {
        let said = says(answer(status, "")).await;
        assert!(
            matches!(&said, Err(SinkError::Failed(reason)) if reason.contains(status)),
            "{said:?}"
        );
    }
    let said = says("HTTP/1.1 400 Bad Request\r\nContent-Length: 9\r\n\r\nno\n\u{7}field".to_owned()).await;
    let expected = "it answered 400 Bad Request: no  field";
    assert_eq!(said, Err(SinkError::Refused(expected.to_owned())));
    // No HTTP, and headers without an end.
    for bytes in [
        "garbage\r\n\r\n".to_owned(),
        format!("HTTP/1.1 200 OK\r\na: {}", "a".repeat(4 << 20)),
    ] {
        let said = says(bytes).await;
        assert!(matches!(said, Err(SinkError::Failed(_))), "{said:?}");
    }
}

#[tokio::test]
async fn nobody_is_sent_on() {
    let (private, _serving) = server(|_, _| async { panic!("it was asked") }).await;
    for status in [
        "301 Moved Permanently",
        "302 Found",
        "307 Temporary Redirect",
        "308 Permanent Redirect",
    ] {
        let said = says(format!(
            "HTTP/1.1 {status}\r\nLocation: {private}\r\nContent-Length: 0\r\n\r\n"
        ))
        .await;
        let Err(SinkError::Failed(reason)) = said else {
            panic!("{said:?}");
        };
        assert!(reason.contains("nobody is sent on"), "{reason}");
    }
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up() {
    // It takes the request and says nothing; it begins an answer and does not go on.
    for begun in ["", "HTTP/1.1 500 Slow\r\nContent-Length: 10\r\n\r\n"] {
        let (url, _serving) = server(move |_, mut stream| async move {
            let _ = stream.write_all(begun.as_bytes()).await;
            std::future::pending::<()>().await;
        })
        .await;
        let hurried = webhook(WebhookOptions {
            timeout: Duration::from_millis(300),
            ..options(url)
        });
        let change = change();
        let said = tokio::time::timeout(GENEROUS, hurried.take(&change));
        let said = said.await.unwrap();
        assert!(matches!(said, Err(SinkError::Failed(_))), "{said:?}");
    }
}

#[tokio::test]
async fn an_endless_answer_is_not_read() {
    for status in ["200 OK", "500 Internal Server Error"] {
        let (sender, mut sent) = tokio::sync::mpsc::channel(1);
        let (url, _serving) = server(move |_, mut stream| {
            let sender = sender.clone();
            async move {
                let head = format!("HTTP/1.1 {status}\r\nContent-Length: {GIGABYTE}\r\n\r\n");
                stream.write_all(head.as_bytes()).await.unwrap();
                let part = vec![b'a'; 64 * 1024];
                let mut count = 0;
                while count < GIGABYTE && stream.write_all(&part).await.is_ok() {
                    count += part.len();
                }
                sender.send(count).await.unwrap();
            }
        })
        .await;
        let said = webhook(options(url)).take(&change()).await;
        assert_eq!(said.is_ok(), status.starts_with("200"), "{said:?}");
        if let Err(error) = said {
            assert!(error.to_string().len() < 1_000, "{error}");
        }
        let sent = tokio::time::timeout(GENEROUS, sent.recv()).await;
        let sent = sent.unwrap().unwrap();
        assert!(sent < 64 * 1024 * 1024, "{sent} bytes were taken");
    }
}

#[tokio::test]
async fn a_name_that_leads_to_this_machine_is_not_asked() {
    let (url, _serving) = server(|_, _| async { panic!("it was asked") }).await;
    let port = url.rsplit(':').next().unwrap();
    let careful = webhook(WebhookOptions {
        private_addresses: false,
        ..options(format!("http://localhost:{port}"))
    });
    let said = careful.take(&change()).await;
    let Err(SinkError::Away(reason)) = said else {
        panic!("{said:?}");
    };
    assert!(
        reason.contains("is private") && reason.contains("private_addresses"),
        "{reason}"
    );
    // One without a name is refused before anybody is asked; the address itself is told to nobody.
    let refused = Webhook::new(
        WebhookOptions {
            private_addresses: false,
            ..options(url.clone())
        },
        Arc::new(Noon),
        |text| text.into(),
    );
    let reason = refused.err().unwrap();
    assert!(
        reason.contains("is private") && !reason.contains(port),
        "{reason}"
    );
    // With private addresses allowed, the same name is asked.
    let (url, _serving) = server(|_, mut stream| async move {
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .await;
    })
    .await;
    let named = url.replace("127.0.0.1", "localhost");
    webhook(options(named)).take(&change()).await.unwrap();
}
