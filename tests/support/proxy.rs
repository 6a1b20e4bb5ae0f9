//! A TCP proxy that injects faults while it runs: it delays, stalls one way or both, cuts, leaves connections half open, and
//! cuts at a word that it waits for.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const BUFFER_BYTES: usize = 64 * 1024;

/// What becomes of bytes in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Flow {
    /// They go through.
    #[default]
    Pass,
    /// Each piece waits for so long.
    Delay(Duration),
    /// They wait until that changes; nobody is told.
    Stall,
}

/// When a connection is cut that carries a word from its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Before the server hears it.
    Before,
    /// When the server answers: what was asked for is done, and the client does not learn it.
    After,
}

#[derive(Debug, Clone, Default)]
struct Orders {
    to_server: Flow,
    to_client: Flow,
    trap: Option<(Cut, Vec<u8>)>,
    /// New connections are closed at once.
    refuses: bool,
    /// Connections that were made under a lower number are cut.
    cuts: u64,
    /// Those of servers alone: their clients see a connection on which nothing ever happens.
    half: u64,
}

/// The proxy; it ends when dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    orders: Arc<watch::Sender<Orders>>,
    sprung: Arc<AtomicUsize>,
    _ends: tokio_util::sync::DropGuard,
}

impl Proxy {
    /// Listens on a free port of `address` and passes everything on to a loopback port.
    ///
    /// # Panics
    /// Panics where nobody can listen there.
    pub async fn start(address: Ipv4Addr, target: u16) -> Self {
        let listener = TcpListener::bind((address, 0))
            .await
            .expect("a port of the proxy's own");
        let address = listener.local_addr().expect("its address");
        let orders = Arc::new(watch::Sender::new(Orders::default()));
        let (sprung, ends) = (Arc::default(), CancellationToken::new());
        let shared = Shared {
            target,
            orders: Arc::clone(&orders),
            sprung: Arc::clone(&sprung),
        };
        tokio::spawn(ends.clone().run_until_cancelled_owned(accept(listener, shared)));
        Self {
            address,
            orders,
            sprung,
            _ends: ends.drop_guard(),
        }
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What becomes of bytes to the server.
    pub fn to_server(&self, flow: Flow) {
        self.orders.send_modify(|orders| orders.to_server = flow);
    }

    /// What becomes of bytes to clients.
    pub fn to_client(&self, flow: Flow) {
        self.orders.send_modify(|orders| orders.to_client = flow);
    }

    /// What becomes of bytes both ways.
    pub fn both(&self, flow: Flow) {
        self.to_server(flow);
        self.to_client(flow);
    }

    /// Breaks every connection that stands.
    pub fn cut(&self) {
        self.orders.send_modify(|orders| orders.cuts += 1);
    }

    /// Closes new connections at once, or does not any more.
    pub fn refuse(&self, refuses: bool) {
        self.orders.send_modify(|orders| orders.refuses = refuses);
    }

    /// Ends every connection that stands for its server alone.
    pub fn half_open(&self) {
        self.orders.send_modify(|orders| orders.half += 1);
    }

    /// Cuts each connection on which a client sends `word` from now on.
    pub fn trap(&self, cut: Cut, word: &str) {
        self.orders
            .send_modify(|orders| orders.trap = Some((cut, word.as_bytes().to_vec())));
    }

    /// How many connections were cut at their word.
    pub fn sprung(&self) -> usize {
        self.sprung.load(Ordering::Relaxed)
    }

    /// Everything goes through again; what was stalled goes on, and what is half open is cut.
    pub fn heal(&self) {
        self.orders.send_modify(|orders| {
            let (cuts, half) = (orders.cuts, orders.half);
            *orders = Orders {
                cuts: if half > 0 { cuts + 1 } else { cuts },
                ..Orders::default()
            };
        });
    }
}

#[derive(Debug, Clone)]
struct Shared {
    target: u16,
    orders: Arc<watch::Sender<Orders>>,
    sprung: Arc<AtomicUsize>,
}

async fn accept(listener: TcpListener, shared: Shared) {
    let ends = CancellationToken::new();
    let _with_all = ends.clone().drop_guard();
    loop {
        let Ok((client, _)) = listener.accept().await else {
            // Too many open files: they may become fewer.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        if !shared.orders.borrow().refuses {
            let carried = carry(client, shared.clone());
            tokio::spawn(ends.clone().run_until_cancelled_owned(carried));
        }
    }
}

/// Carries one connection until either side ends it, or it is cut.
async fn carry(mut client: TcpStream, shared: Shared) {
    let mut orders = shared.orders.subscribe();
    let (cuts, half) = {
        let now = orders.borrow();
        (now.cuts, now.half)
    };
    let Ok(mut server) = TcpStream::connect((Ipv4Addr::LOCALHOST, shared.target)).await else {
        return;
    };
    {
        let answer_cuts = AtomicBool::new(false);
        let pump = |way| Pump {
            way,
            orders: shared.orders.subscribe(),
            answer_cuts: &answer_cuts,
            sprung: &shared.sprung,
        };
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        tokio::select! {
            () = pump(Way::ToServer).run(from_client, to_server) => return,
            () = pump(Way::ToClient).run(from_server, to_client) => return,
            _ = orders.wait_for(|orders| orders.cuts > cuts || orders.half > half) => {}
        }
    }
    drop(server);
    // Nobody tells the client, unless it is to be told.
    let _ = orders.wait_for(|orders| orders.cuts > cuts).await;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    ToServer,
    ToClient,
}

/// One direction of one connection.
struct Pump<'a> {
    way: Way,
    orders: watch::Receiver<Orders>,
    /// The word was said: the answer is not passed on.
    answer_cuts: &'a AtomicBool,
    sprung: &'a AtomicUsize,
}

impl Pump<'_> {
    async fn run(mut self, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) {
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let length = match from.read(&mut buffer).await {
                Ok(length) if length > 0 => length,
                _ => return,
            };
            let piece = &buffer[..length];
            self.hold().await;
            if self.springs(piece) || to.write_all(piece).await.is_err() {
                return;
            }
        }
    }

    /// Waits as long as a piece has to.
    async fn hold(&mut self) {
        let way = self.way;
        let flow = move |orders: &Orders| match way {
            Way::ToServer => orders.to_server,
            Way::ToClient => orders.to_client,
        };
        let now = flow(&self.orders.borrow());
        if let Flow::Delay(time) = now {
            tokio::time::sleep(time).await;
        }
        // An error says that the proxy is gone, and this with it.
        let _ = self.orders.wait_for(|orders| flow(orders) != Flow::Stall).await;
    }

    /// Whether the connection is to be cut instead of passing this on.
    fn springs(&self, piece: &[u8]) -> bool {
        if self.way == Way::ToClient {
            return self.answer_cuts.load(Ordering::Relaxed);
        }
        let orders = self.orders.borrow();
        let Some((cut, word)) = &orders.trap else {
            return false;
        };
        if !piece.windows(word.len()).any(|part| part == word) {
            return false;
        }
        self.sprung.fetch_add(1, Ordering::Relaxed);
        self.answer_cuts.store(*cut == Cut::After, Ordering::Relaxed);
        *cut == Cut::Before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Longer than anything here takes that is not stalled.
    const QUIET: Duration = Duration::from_millis(300);

    /// A server that answers each piece with the same, and a connection to it through a proxy.
    async fn echo() -> (Proxy, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let proxy = Proxy::start(Ipv4Addr::LOCALHOST, listener.local_addr().unwrap().port()).await;
        tokio::spawn(async move {
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    let (mut from, mut to) = client.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        // Only a connection that is carried can be cut.
        says(&mut client, "hello").await;
        hears(&mut client, "hello").await;
        (proxy, client)
    }

    async fn says(client: &mut TcpStream, word: &str) {
        client.write_all(word.as_bytes()).await.unwrap();
    }

    async fn hears(client: &mut TcpStream, word: &str) {
        let mut heard = vec![0; word.len()];
        client.read_exact(&mut heard).await.unwrap();
        assert_eq!(heard, word.as_bytes());
    }

    async fn hears_nothing(client: &mut TcpStream) {
        let heard = tokio::time::timeout(QUIET, client.read_u8()).await;
        assert!(heard.is_err(), "{heard:?}");
    }

    async fn is_cut(client: &mut TcpStream) {
        let cut = tokio::time::timeout(crate::wait::GENEROUS, client.read_u8()).await;
        // End of file or a reset, as the system likes.
        assert!(cut.expect("it is cut").is_err());
    }

    #[tokio::test]
    async fn what_is_stalled_goes_on_when_it_heals() {
        let (proxy, mut client) = echo().await;
        for stall in [Proxy::to_server, Proxy::to_client, Proxy::both] {
            stall(&proxy, Flow::Stall);
            says(&mut client, "two").await;
            hears_nothing(&mut client).await;
            proxy.heal();
            hears(&mut client, "two").await;
        }
        proxy.both(Flow::Delay(QUIET));
        says(&mut client, "three").await;
        hears_nothing(&mut client).await;
        hears(&mut client, "three").await;
    }

    #[tokio::test]
    async fn connections_are_cut_refused_and_left_half_open() {
        let (proxy, mut client) = echo().await;
        proxy.cut();
        is_cut(&mut client).await;
        let mut next = TcpStream::connect(proxy.address()).await.unwrap();
        says(&mut next, "next").await;
        hears(&mut next, "next").await;
        proxy.half_open();
        says(&mut next, "void").await;
        hears_nothing(&mut next).await;
        proxy.heal();
        is_cut(&mut next).await;
        proxy.refuse(true);
        is_cut(&mut TcpStream::connect(proxy.address()).await.unwrap()).await;
    }

    #[tokio::test]
    async fn a_word_cuts_before_or_after_the_server_heard_it() {
        let heard = Arc::new(AtomicUsize::new(0));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let proxy = Proxy::start(Ipv4Addr::LOCALHOST, listener.local_addr().unwrap().port()).await;
        let counts = Arc::clone(&heard);
        tokio::spawn(async move {
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                let mut word = [0; 6];
                while client.read_exact(&mut word).await.is_ok() {
                    counts.fetch_add(1, Ordering::Relaxed);
                    client.write_all(&word).await.unwrap();
                }
            }
        });
        for (cut, count) in [(Cut::Before, 1), (Cut::After, 3)] {
            let mut client = TcpStream::connect(proxy.address()).await.unwrap();
            says(&mut client, "BEGIN;").await;
            hears(&mut client, "BEGIN;").await;
            proxy.trap(cut, "COMMIT");
            says(&mut client, "COMMIT").await;
            is_cut(&mut client).await;
            assert_eq!(heard.load(Ordering::Relaxed), count, "{cut:?}");
            proxy.heal();
        }
        assert_eq!(proxy.sprung(), 2);
    }
}
