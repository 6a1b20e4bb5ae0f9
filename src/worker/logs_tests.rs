//! Lines are numbered, bounded, and waited for.

use streamkeeper_protocol::{Epoch, LogFd, PROTOCOL_VERSION, Term, WorkerId};

use super::*;

const SESSION: SessionId = SessionId::from_u128(7);
const PLENTY: usize = 1024 * 1024;

fn line(text: &str) -> LogLine {
    LogLine {
        number: 0,
        at_ms: 5,
        epoch: Epoch::new(Term::ZERO, 1),
        fd: LogFd::Stdout,
        text: text.to_owned(),
    }
}

fn stream(name: &str) -> StreamId {
    StreamId::new(name).unwrap()
}

fn request(name: &str, from: Option<u64>, wait_ms: u32) -> LogRequest {
    LogRequest {
        v: PROTOCOL_VERSION,
        worker: WorkerId::new("w").unwrap(),
        stream: stream(name),
        lines: 2,
        session: Some(SESSION),
        from,
        wait_ms,
    }
}

/// (next, (number, text) of each line).
fn told(excerpt: &Excerpt) -> (u64, Vec<(u64, &str)>) {
    let lines = excerpt.lines.iter().map(|line| (line.number, line.text.as_str()));
    (excerpt.next, lines.collect())
}

#[test]
fn a_reader_gets_the_newest_or_goes_on_where_it_was() {
    let mut ring = Ring::new(PLENTY);
    for text in ["a", "b", "c"] {
        ring.push(line(text));
    }
    ring.skip(4);
    ring.push(line("d"));
    let cases: [(_, u64, &[(u64, &str)]); 8] = [
        (None, 9, &[(3, "c"), (8, "d")]),
        (Some(0), 3, &[(1, "a"), (2, "b")]),
        (Some(2), 4, &[(2, "b"), (3, "c")]),
        (Some(3), 9, &[(3, "c"), (8, "d")]),
        // The gap is seen by the numbers.
        (Some(4), 9, &[(8, "d")]),
        (Some(9), 9, &[]),
        // It cannot be of this stream's counting.
        (Some(10), 9, &[(3, "c"), (8, "d")]),
        (Some(u64::MAX), 9, &[(3, "c"), (8, "d")]),
    ];
    for (from, next, lines) in cases {
        let excerpt = ring.read(from, 2, PLENTY);
        assert_eq!(told(&excerpt), (next, lines.to_vec()), "{from:?}");
    }
    // A small answer has the newest lines, or the oldest ones.
    let small = LINE_BYTES + 1;
    assert_eq!(told(&ring.read(None, 9, small)), (9, vec![(8, "d")]));
    assert_eq!(told(&ring.read(Some(1), 9, small)), (2, vec![(1, "a")]));
    ring.skip(2);
    assert_eq!(
        told(&ring.read(Some(9), 9, PLENTY)),
        (11, vec![]),
        "lost at the end"
    );
}

#[test]
fn a_flood_pushes_the_oldest_out() {
    let mut ring = Ring::new(PLENTY);
    for number in 0..MAX_LINES + 10 {
        ring.push(line(&number.to_string()));
    }
    assert_eq!(ring.lines.len(), MAX_LINES);
    assert_eq!(ring.read(Some(1), 1, PLENTY).lines[0].text, "10");
    ring.set_room(3 * LINE_BYTES + 10);
    assert_eq!(ring.lines.len(), 2, "{} bytes", ring.bytes);
    ring.push(line(&"x".repeat(1_000)));
    assert_eq!(
        (ring.lines.len(), ring.bytes),
        (0, 0),
        "what has no room is not kept"
    );
    assert_eq!(ring.next, MAX_LINES as u64 + 12);
}

#[test]
fn many_streams_share_the_room() {
    let book = LogBook::default();
    let long = "x".repeat(4_000);
    let mut total = 0;
    for number in 0..600 {
        let log = book.open(&stream(&format!("s{number}")));
        for _ in 0..34 {
            log.write(line(&long));
        }
        // Around these the room of each is changed.
        if number % 128 > 1 && number != 599 {
            continue;
        }
        let pages = book.pages();
        total = pages.logs.values().map(|log| log.ring().bytes).sum();
        assert!(total <= MAX_TOTAL_BYTES, "{number}: {total}");
    }
    assert!(total > MAX_TOTAL_BYTES / 2, "{total}");
}

#[test]
fn lines_outlive_the_run_but_not_for_ever() {
    let book = LogBook::default();
    for _ in 0..2 {
        book.open(&stream("back")).write(line("x"));
        book.close(&stream("back"));
    }
    assert_eq!(book.open(&stream("back")).ring().next, 3);
    for number in 0..=MAX_FORMER {
        let name = stream(&format!("s{number}"));
        book.open(&name).write(line("x"));
        book.close(&name);
    }
    let pages = book.pages();
    assert_eq!(pages.logs.len(), MAX_FORMER + 1);
    assert!(
        pages.logs.contains_key(&stream("back")),
        "it runs, so it is no former one"
    );
    assert!(!pages.logs.contains_key(&stream("s0")));
}

#[test]
fn texts_are_made_fit() {
    let long = "ä".repeat(MAX_LOG_LINE_BYTES);
    assert_eq!(plain("a\tb\u{1b}c"), "a b c");
    let cut = plain(&long);
    assert!(
        cut.len() <= MAX_LOG_LINE_BYTES && cut.ends_with("ä…"),
        "{}",
        cut.len()
    );
}

#[tokio::test(start_paused = true)]
async fn a_reader_waits_for_what_comes_next() {
    const LONG_MS: u32 = 30_000;
    let book = LogBook::default();
    let read = async |from, wait_ms| book.read(&request("one", from, wait_ms), SESSION, PLENTY).await;
    // Nothing is known of the stream: the newest are none, the next ones are waited for.
    let before = Instant::now();
    assert_eq!(told(&read(None, LONG_MS).await), (1, vec![]));
    assert_eq!(before.elapsed(), Duration::ZERO);
    let writer = book.clone();
    let write = async |text: &'static str| {
        tokio::time::sleep(Duration::from_secs(1)).await;
        writer.open(&stream("other")).write(line("not this one"));
        writer.open(&stream("one")).write(line(text));
    };
    let (found, ()) = tokio::join!(read(Some(1), LONG_MS), write("first"));
    assert_eq!(told(&found), (2, vec![(1, "first")]));
    let (found, ()) = tokio::join!(read(Some(2), LONG_MS), write("second"));
    assert_eq!(told(&found), (3, vec![(2, "second")]));
    assert_eq!(before.elapsed(), Duration::from_secs(2), "it came at once");
    assert_eq!(told(&read(Some(3), LONG_MS).await), (3, vec![]));
    assert_eq!(before.elapsed(), Duration::from_secs(32), "the wait has an end");
    // Losses are news, too.
    book.open(&stream("one")).skip(5);
    assert_eq!(told(&read(Some(3), LONG_MS).await), (8, vec![]));
    // Another life counted other lines.
    let foreign = LogRequest {
        session: None,
        ..request("one", Some(2), LONG_MS)
    };
    let found = book.read(&foreign, SESSION, PLENTY).await;
    assert_eq!(told(&found), (8, vec![(1, "first"), (2, "second")]));
    assert_eq!(before.elapsed(), Duration::from_secs(32));
}
