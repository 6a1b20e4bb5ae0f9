//! Events as they come, for each reader from the database: one that was away, or is behind, misses none. A reader that does
//! not take what is written is dropped: its place is for others.

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ContentEncoding};
use actix_web::web::{Bytes, Data};
use futures::stream;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::time::timeout;

use super::Shared;
use super::events::{SSE, unavailable};
use super::problem::{Kind, Problem};
use super::views::events::EventView;
use crate::port::{EventQuery, StoredEvent};

/// Most readers at a time: each of them asks the database.
pub(super) const MAX_READERS: usize = 16;
/// Most events of one piece.
const MAX_PIECE: usize = 200;
/// Pieces that wait for a reader.
const MAX_PIECES: usize = 2;
/// Between two questions to the database, however much happens.
const PACE: Duration = Duration::from_millis(300);
/// Other orchestrators' events are looked for so often.
const LOOK: Duration = Duration::from_secs(2);
/// A silent connection gets a sign of life so often.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);
const RETRY_SECONDS: u32 = 5;
const STOPPING: &str = "this orchestrator stops; follow again when it is back";
const TOO_SLOW: &str = "you read too slowly; follow again after the last id";

/// Answers with everything that is asked for, from now on or from where `wanted` says.
pub(super) async fn start(shared: Data<Shared>, mut wanted: EventQuery) -> Result<HttpResponse, Problem> {
    let seat = Arc::clone(&shared.event_readers)
        .try_acquire_owned()
        .map_err(|_| {
            let detail = format!("{MAX_READERS} readers follow events already");
            Problem::new(Kind::TooManyReaders, detail).retry_after(RETRY_SECONDS)
        })?;
    let newest = shared.context.events.newest_event().await;
    let newest = newest.map_err(|error| unavailable(&error))?;
    let is_from_now = wanted.after.is_none() && wanted.since.is_none();
    // An id from before the database was put back to an older copy is none of this one's.
    if is_from_now || wanted.after.is_some_and(|after| after > newest) {
        wanted.after = Some(newest);
    }
    wanted.limit = MAX_PIECE;
    let last_word = Arc::new(OnceLock::new());
    let (pieces, taken) = mpsc::channel(MAX_PIECES);
    let producer = Producer {
        written: shared.context.journal.written(),
        shared,
        wanted,
        pieces,
        last_word: Arc::clone(&last_word),
        _seat: seat,
    };
    actix_web::rt::spawn(producer.run());
    let body = stream::unfold(Some(taken), move |taken| {
        let last_word = Arc::clone(&last_word);
        async move {
            let mut taken = taken?;
            if let Some(piece) = taken.recv().await {
                return Some((Ok::<_, Infallible>(piece), Some(taken)));
            }
            let word = last_word.get().copied().unwrap_or(STOPPING);
            let end = format!("event: end\ndata: {}\n\n", serde_json::json!({ "detail": word }));
            Some((Ok(Bytes::from(end)), None))
        }
    });
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, SSE))
        .insert_header((CACHE_CONTROL, "no-store"))
        // Compressed, events would wait for more of them.
        .insert_header((CONTENT_ENCODING, ContentEncoding::Identity))
        .streaming(Box::pin(body)))
}

struct Producer {
    shared: Data<Shared>,
    wanted: EventQuery,
    written: watch::Receiver<u64>,
    pieces: mpsc::Sender<Bytes>,
    last_word: Arc<OnceLock<&'static str>>,
    _seat: OwnedSemaphorePermit,
}

impl Producer {
    /// Ends when the reader is gone, is too slow, or this orchestrator stops.
    async fn run(mut self) {
        let closing = self.shared.closing.clone();
        let pieces = self.pieces.clone();
        tokio::select! {
            () = pieces.closed() => {}
            () = self.produce() => {}
            () = closing.cancelled() => {
                let _ = self.last_word.set(STOPPING);
            }
        }
    }

    async fn produce(&mut self) {
        let mut quiet = Duration::ZERO;
        // The head goes out at once.
        let mut piece = ": events follow\n\n".to_owned();
        loop {
            if quiet >= SIGN_OF_LIFE {
                piece.push_str(": nothing new\n\n");
            }
            if piece.is_empty() {
                quiet += LOOK;
            } else {
                quiet = Duration::ZERO;
                let patience = self.shared.time_limits.reader;
                let sent = self
                    .pieces
                    .send_timeout(std::mem::take(&mut piece).into(), patience);
                if sent.await.is_err() {
                    let _ = self.last_word.set(TOO_SLOW);
                    return;
                }
            }
            tokio::time::sleep(PACE).await;
            self.written.mark_unchanged();
            let found = self.shared.context.events.events(&self.wanted).await;
            match found {
                Ok(found) => {
                    let is_full = found.len() == MAX_PIECE;
                    self.write(found, &mut piece);
                    if is_full || !piece.is_empty() {
                        continue;
                    }
                }
                Err(error) => piece = format!(": {}\n\n", unavailable(&error).detail().replace('\n', " ")),
            }
            // Its sender is as old as the process.
            let _ = timeout(LOOK, self.written.changed()).await;
        }
    }

    fn write(&mut self, found: Vec<StoredEvent>, piece: &mut String) {
        for stored in found {
            let (id, kind) = (stored.id, stored.event.kind.clone());
            self.wanted.after = Some(id);
            // It is made of texts and numbers, so that it can always be written.
            if let Ok(data) = serde_json::to_string(&EventView::from(stored)) {
                piece.push_str(&format!("id: {id}\nevent: {kind}\ndata: {data}\n\n"));
            }
        }
    }
}
