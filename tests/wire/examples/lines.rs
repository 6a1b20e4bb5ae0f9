//! Requests for lines of streams, and their replies.

use streamkeeper_protocol::{Epoch, LogFd, LogLine, LogReply, LogRequest};

use super::{EPOCH_COUNTER, Example, TERM, session, stream, term, worker};

pub(super) fn all() -> Vec<Example> {
    let newest = LogRequest {
        v: 1,
        worker: worker(),
        stream: stream("radio-1"),
        lines: 100,
        session: None,
        from: None,
        wait_ms: 0,
    };
    let next = LogRequest {
        lines: 1_000,
        session: Some(session(1)),
        from: Some(5_000_000_000),
        wait_ms: 5_000,
        ..newest.clone()
    };
    let line = |number, fd, text: &str| LogLine {
        number,
        at_ms: 1_795_500_000_123,
        epoch: Epoch::new(term(TERM), EPOCH_COUNTER),
        fd,
        text: text.to_owned(),
    };
    let reply = LogReply {
        v: 1,
        stream: stream("radio-1"),
        session: session(1),
        next: 5_000_000_003,
        lines: vec![
            line(4_999_999_990, LogFd::Worker, "command started, pid 7"),
            line(5_000_000_001, LogFd::Stdout, "\u{fc}berlastet"),
            line(5_000_000_002, LogFd::Stderr, "frame=1"),
        ],
        // Never together in earnest; here so that every field is published once.
        reason: Some("only an example".to_owned()),
    };
    let none = LogReply {
        next: 1,
        lines: Vec::new(),
        reason: None,
        ..reply.clone()
    };
    vec![
        Example::new("log_request_newest", false, newest),
        Example::new("log_request_next", true, next),
        Example::new("log_reply_lines", true, reply),
        Example::new("log_reply_none", false, none),
    ]
}
