//! A TCP proxy whose connections freeze and break on demand, while new ones go through.

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What becomes of the connections that stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Flow,
    /// Nothing is read from the client any more.
    Freeze,
    /// Connections are closed; what the client has written is lost.
    Cut,
}

/// The proxy; it ends when dropped.
pub(crate) struct Proxy {
    port: u16,
    orders: watch::Sender<Order>,
}

impl Proxy {
    /// Listens on a port of its own and passes everything on to `target`.
    pub(crate) async fn start(target: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let orders = watch::Sender::new(Order::Flow);
        let mut ends = orders.subscribe();
        let for_connections = orders.clone();
        tokio::spawn(async move {
            loop {
                let client = tokio::select! {
                    accepted = listener.accept() => accepted.unwrap().0,
                    changed = ends.changed() => match changed {
                        Ok(()) => continue,
                        Err(_) => return,
                    },
                };
                let server = TcpStream::connect(("127.0.0.1", target)).await.unwrap();
                tokio::spawn(carry(client, server, for_connections.subscribe()));
            }
        });
        Self { port, orders }
    }

    /// Where clients connect.
    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Reads nothing more from clients.
    pub(crate) fn freeze(&self) {
        self.orders.send_replace(Order::Freeze);
    }

    /// Breaks every connection that stands.
    pub(crate) fn cut(&self) {
        self.orders.send_replace(Order::Cut);
    }
}

/// Carries one connection until it ends or is cut. It obeys the orders that come while it stands.
async fn carry(client: TcpStream, server: TcpStream, mut orders: watch::Receiver<Order>) {
    let mut frozen = false;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let down = tokio::spawn(async move {
        // Its end shows in the other direction.
        let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
    });
    let mut buffer = vec![0; 64 * 1024];
    loop {
        tokio::select! {
            changed = orders.changed() => {
                if changed.is_err() || *orders.borrow_and_update() == Order::Cut {
                    break;
                }
                frozen = true;
            }
            read = tokio::io::AsyncReadExt::read(&mut from_client, &mut buffer), if !frozen => match read {
                Ok(length) if length > 0 => to_server.write_all(&buffer[..length]).await.unwrap(),
                _ => break,
            }
        }
    }
    down.abort();
}
