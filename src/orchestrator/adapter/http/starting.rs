//! While the process still starts: probes tell how far it is, everything else is to be asked again later.

use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use tokio::sync::watch;

use super::probes;
use super::problem::{Kind, Problem};
use super::views::health::PhaseView;
use crate::port::Start;

/// When to ask again, in seconds.
const RETRY_AFTER_SECONDS: u32 = 1;

/// The start, for its handlers.
pub(super) type Starting = web::Data<watch::Receiver<Start>>;

pub(super) fn routes(config: &mut ServiceConfig) {
    config
        .service(web::resource("/livez").to(probes::livez))
        .default_service(web::to(not_yet));
}

async fn not_yet(starting: Starting, request: HttpRequest) -> HttpResponse {
    let problem = still_starts(&starting.borrow()).at(request.path());
    HttpResponse::from_error(problem)
}

/// The phase that the start is in, and what it waits for.
pub(super) fn still_starts(start: &Start) -> Problem {
    let detail = match &start.current {
        None => "the start is between two phases".to_owned(),
        Some(current) => {
            let seconds = current.since.elapsed().as_secs_f64();
            let reason = current.waits_for.iter();
            let reason: String = reason.map(|reason| format!("; it waits: {reason}")).collect();
            format!(
                "the start has been in phase {:?} for {seconds:.1} s{reason}",
                current.name
            )
        }
    };
    let done: Vec<String> = start
        .done
        .iter()
        .map(PhaseView::of)
        .map(|p| p.in_words())
        .collect();
    let done = match done.is_empty() {
        true => "no phase is through yet".to_owned(),
        false => format!("through are: {}", done.join(", ")),
    };
    Problem::new(Kind::NotStarted, format!("{detail}; {done}"))
        .suggest("wait; what a phase needs is named in the log, and where it fails")
        .retry_after(RETRY_AFTER_SECONDS)
}
