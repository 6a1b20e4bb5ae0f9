//! Named limits of the wire. A message over a limit is refused as a whole and counted.

/// Longest id, in bytes; ids are ASCII.
pub const MAX_ID_BYTES: usize = 64;
/// Largest encoded message that is decoded at all, in bytes. NATS itself carries 1 MiB by default.
pub const MAX_MESSAGE_BYTES: usize = 8 * 1024 * 1024;
/// Deepest nesting that is decoded: deeper input would overflow the stack.
pub const MAX_DEPTH: usize = 32;
/// Most entries of one list (inventory or desired set), over all parts.
pub const MAX_ENTRIES: usize = 200_000;
/// Most parts into which one desired set or inventory is cut.
pub const MAX_PARTS: u32 = 1_024;
/// Most streams whose performance one heartbeat tells.
pub const MAX_PERFORMANCE: usize = 4_096;
/// Most labels of a worker or a stream.
pub const MAX_LABELS: usize = 64;
/// Longest free text (reason, version, zone, label), in bytes.
pub const MAX_TEXT_BYTES: usize = 1_024;
/// Longest source of a stream, in bytes.
pub const MAX_SOURCE_BYTES: usize = 4_096;
/// Room that is left under the server's `max_payload` for the fields around a part's entries, in bytes.
pub const PART_OVERHEAD_BYTES: usize = 4 * 1024;
/// Longest lease of a leader, in milliseconds: a record with a longer one would shut every other out.
pub const MAX_LEADER_LEASE_MS: u64 = 10 * 60 * 1_000;
/// A message of more bytes is compressed, where its receiver understands that.
pub const COMPRESS_ABOVE_BYTES: usize = 8 * 1024;
/// Most lines of a stream in one reply.
pub const MAX_LOG_LINES: usize = 1_000;
/// Longest line of a stream, in bytes.
pub const MAX_LOG_LINE_BYTES: usize = 4_096;
/// Longest time that a worker is asked to wait for a line, in milliseconds.
pub const MAX_LOG_WAIT_MS: u32 = 30_000;
