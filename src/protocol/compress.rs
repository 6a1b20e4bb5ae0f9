//! Compression of large messages with zlib (RFC 1950), which every language has.
//!
//! A compressed message begins with the byte 0x78. A MessagePack map never does, so no field around it is needed to
//! tell the two apart.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::codec::DecodeError;
use crate::limit::{COMPRESS_ABOVE_BYTES, MAX_MESSAGE_BYTES};

/// First byte of a zlib stream: method deflate, window of 32 KiB.
const FIRST_BYTE: u8 = 0x78;
/// Room for one byte too many, by which too much is noticed.
const MOST_BYTES: usize = MAX_MESSAGE_BYTES + 1;
/// First room for what is inflated, as a multiple of what came.
const USUAL_RATIO: usize = 8;

/// Compresses an encoded message where it is large enough to be worth it. To be sent only to who said that it
/// understands it.
///
/// ```
/// let small = vec![0x80];
/// assert_eq!(streamkeeper_protocol::compress(small.clone()), small);
/// let large = vec![0x80; 100_000];
/// assert!(streamkeeper_protocol::compress(large).len() < 1_000);
/// ```
#[must_use]
pub fn compress(bytes: Vec<u8>) -> Vec<u8> {
    if bytes.len() <= COMPRESS_ABOVE_BYTES {
        return bytes;
    }
    // No more room than the message has now: what would not get smaller is sent as it is.
    let mut smaller = Vec::with_capacity(bytes.len());
    let mut deflater = Compress::new(Compression::fast(), true);
    match deflater.compress_vec(&bytes, &mut smaller, FlushCompress::Finish) {
        Ok(Status::StreamEnd) => smaller,
        Ok(Status::Ok | Status::BufError) | Err(_) => bytes,
    }
}

/// Whether a message is compressed.
pub(crate) fn is_compressed(bytes: &[u8]) -> bool {
    bytes.first() == Some(&FIRST_BYTE)
}

/// The message in a compressed one. A small message may hold a huge one, so the room grows with what really comes, up
/// to the limit of all messages.
pub(crate) fn inflate(bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let mut inflater = Decompress::new(true);
    let mut message = Vec::with_capacity(bytes.len().saturating_mul(USUAL_RATIO).min(MOST_BYTES));
    let mut taken = 0;
    loop {
        let before = (taken, message.len());
        let rest = bytes.get(taken..).unwrap_or_default();
        let status = inflater
            .decompress_vec(rest, &mut message, FlushDecompress::None)
            .map_err(|_| DecodeError::Damaged)?;
        taken = usize::try_from(inflater.total_in()).unwrap_or(usize::MAX);
        if message.len() > MAX_MESSAGE_BYTES {
            return Err(DecodeError::Bomb);
        }
        if status == Status::StreamEnd {
            break;
        }
        if message.len() == message.capacity() {
            let more = message.len().clamp(1, MOST_BYTES - message.len());
            message.reserve_exact(more);
        } else if before == (taken, message.len()) {
            return Err(DecodeError::Damaged);
        }
    }
    match bytes.len().saturating_sub(taken) {
        0 => Ok(message),
        rest => Err(DecodeError::Trailing(rest)),
    }
}
