//! A server that webhooks talk to. It can hang, and remembers what it answered.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Takes every request, once it does not hang any more.
#[derive(Debug)]
pub struct Hook {
    url: String,
    hangs: Arc<AtomicBool>,
    taken: Arc<Mutex<Vec<Request>>>,
}

/// One request.
#[derive(Debug, Clone)]
pub struct Request {
    /// Its first line and its headers.
    pub head: String,
    /// Its body.
    pub body: String,
}

impl Request {
    /// Reads one; none where the connection ends before.
    pub async fn read(stream: &mut TcpStream) -> Option<Self> {
        let mut bytes = Vec::new();
        loop {
            let mut part = [0; 4096];
            let count = stream.read(&mut part).await.ok().filter(|count| *count > 0)?;
            bytes.extend_from_slice(&part[..count]);
            let text = String::from_utf8_lossy(&bytes);
            let Some((head, body)) = text.split_once("\r\n\r\n") else {
                continue;
            };
            let request = Self {
                head: head.to_owned(),
                body: body.to_owned(),
            };
            if request.body.len() >= request.header("content-length").parse().unwrap_or(0) {
                return Some(request);
            }
        }
    }

    /// A header's value; empty where it is not there.
    pub fn header(&self, name: &str) -> &str {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let mut found = lines.filter(|(key, _)| key.eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| value).unwrap_or_default()
    }
}

impl Hook {
    /// One on loopback that hangs.
    ///
    /// # Panics
    /// Panics where there is no port.
    pub async fn hanging() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/hook", listener.local_addr().expect("an address"));
        let (hangs, taken) = (Arc::new(AtomicBool::new(true)), Arc::default());
        let hook = Self {
            url,
            hangs: Arc::clone(&hangs),
            taken: Arc::clone(&taken),
        };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, Arc::clone(&hangs), Arc::clone(&taken)));
            }
        });
        hook
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// From now on requests are answered.
    pub fn answers(&self) {
        self.hangs.store(false, Ordering::SeqCst);
    }

    /// What was answered.
    pub fn taken(&self) -> Vec<Request> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn answer(mut stream: TcpStream, hangs: Arc<AtomicBool>, taken: Arc<Mutex<Vec<Request>>>) {
    while let Some(request) = Request::read(&mut stream).await {
        if hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        taken.lock().unwrap_or_else(PoisonError::into_inner).push(request);
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        if stream.write_all(answer).await.is_err() {
            return;
        }
    }
}
