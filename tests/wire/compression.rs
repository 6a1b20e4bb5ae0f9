//! Compressed messages: what goes in comes out, whoever compressed it; what is cut off, damaged or endless is refused.

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use proptest::prelude::*;
use streamkeeper_protocol::limit::{COMPRESS_ABOVE_BYTES, MAX_MESSAGE_BYTES};
use streamkeeper_protocol::{
    Action, Assign, AssignKind, DecodeError, DesiredEntry, Epoch, Ownership, RunSpec, SessionId, StreamId,
    Term, WorkerId, compress, decode, encode,
};

/// Levels of zlib, none included.
const LEVELS: std::ops::RangeInclusive<u32> = 0..=9;

fn assign(sources: &[String]) -> Assign {
    let term = Term::new(17).unwrap();
    let entry = |(number, source): (u32, &String)| DesiredEntry {
        stream: StreamId::new(format!("radio-{number}")).unwrap(),
        epoch: Epoch::new(term, number),
        action: Action::Run,
        spec: Some(RunSpec {
            source: source.clone(),
            ownership: Ownership::Available,
            labels: [].into(),
        }),
    };
    Assign {
        v: 1,
        worker: WorkerId::new("w-1").unwrap(),
        session: SessionId::from_u128(0xab),
        ack_seq: 7,
        term,
        generation: 3,
        lease_ms: 15_000,
        stop_budget_ms: streamkeeper_protocol::DEFAULT_STOP_BUDGET_MS,
        kill_margin_ms: streamkeeper_protocol::DEFAULT_KILL_MARGIN_MS,
        whole_inventory: false,
        kind: AssignKind::Desired,
        reason: None,
        part: 0,
        parts: 1,
        entries: (0..).zip(sources).map(entry).collect(),
        zlib: true,
    }
}

fn large() -> Assign {
    let sources: Vec<String> = (0..200)
        .map(|number| format!("http://radio.example:8000/{number}"))
        .collect();
    assign(&sources)
}

/// As any program with zlib does it.
fn zlib(bytes: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::new(level));
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn read(bytes: &[u8]) -> Result<Assign, DecodeError> {
    decode(bytes, None)
}

#[track_caller]
fn refused(bytes: &[u8], reason: &str) {
    let error = read(bytes).unwrap_err();
    assert_eq!(error.reason(), reason, "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_compressed_is_read_as_what_it_was(
        sources in proptest::collection::vec("[a-z0-9:/\u{e4}-\u{17e}]{0,200}", 0..120), level in LEVELS,
    ) {
        let message = assign(&sources);
        let plain = encode(&message).unwrap();
        let packed = compress(plain.clone());
        prop_assert_eq!(read(&packed).unwrap(), message.clone());
        prop_assert!(packed.len() <= plain.len());
        prop_assert!(plain.len() > COMPRESS_ABOVE_BYTES || packed == plain, "small ones stay as they are");
        prop_assert_eq!(read(&zlib(&plain, level)).unwrap(), message);
    }

    #[test]
    fn what_is_cut_off_or_damaged_is_refused(level in LEVELS, place in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let whole = zlib(&encode(&large()).unwrap(), level);
        let at = place.index(whole.len());
        // Cut to nothing it is no compressed message at all.
        let reason = read(&whole[..at]).unwrap_err().reason();
        prop_assert_eq!(reason, if at == 0 { "malformed" } else { "damaged" });
        let mut damaged = whole;
        damaged[at] ^= 1 << bit;
        // Its sum finds every damage; where the first byte is another, it is no compressed message.
        let reason = read(&damaged).unwrap_err().reason();
        prop_assert!(["damaged", "malformed", "bomb", "trailing"].contains(&reason), "{}", reason);
    }

    #[test]
    fn whatever_follows_after_the_first_byte_is_no_panic(rest in proptest::collection::vec(any::<u8>(), 0..2_000)) {
        prop_assert!(read(&[vec![0x78], rest].concat()).is_err());
    }
}

#[test]
fn large_messages_get_small() {
    let plain = encode(&large()).unwrap();
    let packed = compress(plain.clone());
    assert_eq!(packed[0], 0x78);
    assert!(
        packed.len() * 4 < plain.len(),
        "{} of {} bytes",
        packed.len(),
        plain.len()
    );
    let mut state = 1_u64;
    let noise: Vec<u8> = (0..20_000)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 56) as u8
        })
        .collect();
    assert!(
        compress(noise.clone()) == noise,
        "what does not get smaller stays"
    );
}

#[test]
fn a_bomb_is_refused_before_it_is_inflated() {
    let bomb = zlib(&vec![0; 2 * MAX_MESSAGE_BYTES], 1);
    assert!(bomb.len() * 100 < MAX_MESSAGE_BYTES, "{}", bomb.len());
    refused(&bomb, "bomb");
    refused(&zlib(&vec![0x90; MAX_MESSAGE_BYTES + 1], 1), "bomb");
    // The largest that is allowed is looked at, and found to be no message.
    refused(&zlib(&vec![0xc1; MAX_MESSAGE_BYTES], 1), "malformed");
}

#[test]
fn a_compressed_message_is_checked_like_any_other() {
    let plain = encode(&large()).unwrap();
    refused(&zlib(&zlib(&plain, 9), 9), "malformed");
    refused(&[zlib(&plain, 9), vec![0]].concat(), "trailing");
    refused(&zlib(&[plain.clone(), vec![0]].concat(), 9), "trailing");
    let other = WorkerId::new("w-2").unwrap();
    let spoofed = decode::<Assign>(&zlib(&plain, 9), Some(&other)).unwrap_err();
    assert_eq!(spoofed.reason(), "spoofed");
    let mut newer = large();
    newer.v = 2;
    refused(&zlib(&encode(&newer).unwrap(), 9), "version");
}

/// Published: written by `zlib.compress` of Python 3.11 from the bytes of `golden/assign_zlib.hex`.
const BY_PYTHON: &str = include_str!("compressed/assign_zlib.hex");

#[test]
fn what_another_language_compressed_is_read() {
    let bytes = crate::golden::unhex(BY_PYTHON);
    assert_eq!(bytes[0], 0x78);
    let published = crate::golden::unhex(include_str!("golden/assign_zlib.hex"));
    assert_eq!(read(&bytes).unwrap(), read(&published).unwrap());
}
