//! An endless WAV file: a sine of one frequency per channel.

/// Samples per second; 16 bits each, one channel.
const RATE: u32 = 8_000;
/// Pieces per second.
pub(super) const PIECES_PER_SECOND: u32 = 10;
/// What is written as the length of a file that has no end.
const ENDLESS: u32 = u32::MAX;

/// A tenth of a second of the tone, over and over.
#[derive(Debug)]
pub(super) struct Tone {
    piece: Vec<u8>,
}

impl Tone {
    /// The tone of a channel, as a whole number of waves per piece, so that each joins the next one.
    pub(super) fn new(channel: u16) -> Self {
        let frequency = 220.0 + 20.0 * f64::from(channel);
        let samples = RATE / PIECES_PER_SECOND;
        let piece = (0..samples)
            .flat_map(|sample| {
                let phase = f64::from(sample) / f64::from(RATE) * frequency * std::f64::consts::TAU;
                to_sample(phase.sin() * 8_000.0).to_le_bytes()
            })
            .collect();
        Self { piece }
    }

    /// What stands before the samples.
    pub(super) fn header() -> Vec<u8> {
        let mut header = Vec::with_capacity(44);
        header.extend_from_slice(b"RIFF");
        header.extend_from_slice(&ENDLESS.to_le_bytes());
        header.extend_from_slice(b"WAVEfmt ");
        header.extend_from_slice(&16_u32.to_le_bytes());
        header.extend_from_slice(&1_u16.to_le_bytes());
        header.extend_from_slice(&1_u16.to_le_bytes());
        header.extend_from_slice(&RATE.to_le_bytes());
        header.extend_from_slice(&(RATE * 2).to_le_bytes());
        header.extend_from_slice(&2_u16.to_le_bytes());
        header.extend_from_slice(&16_u16.to_le_bytes());
        header.extend_from_slice(b"data");
        header.extend_from_slice(&ENDLESS.to_le_bytes());
        header
    }

    /// One second: enough for a listener to begin at once.
    pub(super) fn burst(&self) -> Vec<u8> {
        self.piece.repeat(PIECES_PER_SECOND as usize)
    }

    /// What comes every time.
    pub(super) fn piece(&self) -> &[u8] {
        &self.piece
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the amplitude is far below the limit"
)]
fn to_sample(value: f64) -> i16 {
    value as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_join_and_channels_differ() {
        assert_eq!(Tone::header().len(), 44);
        for channel in [1, 2, 200] {
            let tone = Tone::new(channel);
            assert_eq!(tone.burst().len(), 16_000);
            // It begins at zero and rises; the last sample is the one before that.
            let sample = |at: usize| i16::from_le_bytes([tone.piece()[at], tone.piece()[at + 1]]);
            assert_eq!(sample(0), 0);
            let last = sample(tone.piece().len() - 2);
            assert!((last + sample(2)).abs() <= 1, "{last} and {}", sample(2));
        }
        assert_ne!(Tone::new(1).piece(), Tone::new(2).piece());
    }
}
