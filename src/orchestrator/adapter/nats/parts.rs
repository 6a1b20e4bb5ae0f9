//! Cuts a desired set into messages that the server takes.

use std::ops::Range;

use streamkeeper_protocol::limit::{MAX_ENTRIES, MAX_MESSAGE_BYTES, MAX_PARTS, PART_OVERHEAD_BYTES};
use streamkeeper_protocol::{Assign, AssignKind, DesiredEntry, codec, encode};

use crate::port::BusError;

/// Encodes any message; one that the server would refuse is an error.
pub(super) fn encode_one<M: codec::Message>(message: &M, max_payload: usize) -> Result<Vec<u8>, BusError> {
    let bytes = encode(message).map_err(|error| BusError::Unsendable(error.to_string()))?;
    let limit = max_payload.min(MAX_MESSAGE_BYTES);
    if bytes.len() > limit {
        let problem = format!("it has {} bytes, the limit is {limit}", bytes.len());
        return Err(BusError::Unsendable(problem));
    }
    Ok(bytes)
}

/// Encodes an answer: in as many parts as it needs where it carries a desired set, else in one.
pub(super) fn encode_assign(assign: &Assign, max_payload: usize) -> Result<Vec<Vec<u8>>, BusError> {
    if assign.kind != AssignKind::Desired {
        return Ok(vec![encode_one(assign, max_payload)?]);
    }
    if assign.entries.len() > MAX_ENTRIES {
        let problem = format!("{} streams, the limit is {MAX_ENTRIES}", assign.entries.len());
        return Err(BusError::Unsendable(problem));
    }
    let mut entries = assign.entries.clone();
    entries.sort_by(|a, b| a.stream.cmp(&b.stream));
    let frame = Assign {
        part: MAX_PARTS,
        parts: MAX_PARTS,
        entries: Vec::new(),
        ..assign.clone()
    };
    let limit = max_payload
        .min(MAX_MESSAGE_BYTES)
        .saturating_sub(PART_OVERHEAD_BYTES);
    let mut ranges = Vec::new();
    cut(&frame, &entries, 0..entries.len(), limit, &mut ranges)?;
    let parts = u32::try_from(ranges.len()).unwrap_or(u32::MAX);
    if parts > MAX_PARTS {
        let problem = format!("{parts} parts of {limit} bytes, the limit is {MAX_PARTS}; raise max_payload");
        return Err(BusError::Unsendable(problem));
    }
    (0..parts)
        .zip(ranges)
        .map(|(part, range)| {
            let message = Assign {
                part,
                parts,
                entries: entries[range].to_vec(),
                ..frame.clone()
            };
            encode_one(&message, max_payload)
        })
        .collect()
}

/// Halves a range until each piece fits. The frame carries the largest numbers there can be, so that the final ones
/// need no more room.
fn cut(
    frame: &Assign,
    entries: &[DesiredEntry],
    range: Range<usize>,
    limit: usize,
    ranges: &mut Vec<Range<usize>>,
) -> Result<(), BusError> {
    let piece = Assign {
        entries: entries[range.clone()].to_vec(),
        ..frame.clone()
    };
    let size = encode(&piece).map_err(|error| BusError::Unsendable(error.to_string()))?;
    if size.len() <= limit {
        ranges.push(range);
        return Ok(());
    }
    if range.len() <= 1 {
        let stream = entries
            .get(range.start)
            .map_or("no stream", |entry| entry.stream.as_str());
        let problem = format!(
            "{stream} alone needs {} bytes, a part has {limit}; raise the server's max_payload",
            size.len()
        );
        return Err(BusError::Unsendable(problem));
    }
    let middle = range.start + range.len() / 2;
    cut(frame, entries, range.start..middle, limit, ranges)?;
    cut(frame, entries, middle..range.end, limit, ranges)
}

#[cfg(test)]
mod tests {
    use super::*;
    use streamkeeper_protocol::{
        Action, DEFAULT_KILL_MARGIN_MS, DEFAULT_STOP_BUDGET_MS, Epoch, Ownership, PROTOCOL_VERSION, RunSpec,
        SessionId, StreamId, Term, WorkerId, decode,
    };

    fn entry(number: usize, source: usize) -> DesiredEntry {
        DesiredEntry {
            stream: StreamId::new(format!("s{number:05}")).unwrap(),
            epoch: Epoch::new(Term::new(1).unwrap(), u32::try_from(number).unwrap()),
            action: Action::Run,
            spec: Some(RunSpec {
                source: "x".repeat(source),
                ownership: Ownership::Available,
                labels: [].into(),
            }),
        }
    }

    fn assign(kind: AssignKind, entries: Vec<DesiredEntry>) -> Assign {
        Assign {
            v: PROTOCOL_VERSION,
            worker: WorkerId::new("w").unwrap(),
            session: SessionId::from_u128(1),
            ack_seq: 1,
            term: Term::new(1).unwrap(),
            generation: 1,
            lease_ms: 0,
            stop_budget_ms: DEFAULT_STOP_BUDGET_MS,
            kill_margin_ms: DEFAULT_KILL_MARGIN_MS,
            whole_inventory: false,
            kind,
            reason: None,
            part: 0,
            parts: 0,
            entries,
            zlib: true,
        }
    }

    #[track_caller]
    fn together(assign: &Assign, max_payload: usize) -> (usize, Vec<DesiredEntry>) {
        let parts = encode_assign(assign, max_payload).unwrap();
        let mut entries = Vec::new();
        for (number, bytes) in parts.iter().enumerate() {
            assert!(bytes.len() <= max_payload, "part of {} bytes", bytes.len());
            let part: Assign = decode(bytes, Some(&assign.worker)).unwrap();
            assert_eq!((part.part as usize, part.parts as usize), (number, parts.len()));
            entries.extend(part.entries);
        }
        (parts.len(), entries)
    }

    #[test]
    fn parts_hold_the_whole_set_in_order() {
        let sorted: Vec<_> = (0..1_000).map(|number| entry(number, number % 300)).collect();
        let mut mixed = sorted.clone();
        mixed.reverse();
        for max_payload in [8 * 1024, 64 * 1024, 1024 * 1024] {
            let (parts, entries) = together(&assign(AssignKind::Desired, mixed.clone()), max_payload);
            assert_eq!(entries, sorted);
            assert_eq!(parts == 1, max_payload == 1024 * 1024, "{parts} parts");
        }
    }

    #[test]
    fn an_empty_set_is_one_part() {
        let (parts, entries) = together(&assign(AssignKind::Desired, Vec::new()), 8 * 1024);
        assert_eq!((parts, entries), (1, Vec::new()));
    }

    #[test]
    fn only_desired_sets_have_parts() {
        let parts = encode_assign(&assign(AssignKind::Current, Vec::new()), 1024 * 1024).unwrap();
        let message: Assign = decode(&parts[0], None).unwrap();
        assert_eq!((parts.len(), message.part, message.parts), (1, 0, 0));
    }

    #[test]
    fn what_fits_in_no_message_is_named() {
        let one = assign(AssignKind::Desired, vec![entry(7, 4_096)]);
        let error = encode_assign(&one, 8 * 1024).unwrap_err().to_string();
        assert!(error.contains("s00007"), "{error}");
        let many = assign(
            AssignKind::Desired,
            (0..3_000).map(|number| entry(number, 3_000)).collect(),
        );
        let error = encode_assign(&many, 8 * 1024).unwrap_err().to_string();
        assert!(error.contains("3000 parts"), "{error}");
    }
}
