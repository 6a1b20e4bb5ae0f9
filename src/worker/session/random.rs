//! Several independent draws out of the one random number that a call brings.

/// `SplitMix64`: without it, all streams that fail in one call would come back at the same moment.
#[derive(Debug)]
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) const fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// `base` spread by ± 10 %.
    pub(super) fn jitter(&mut self, base: u64) -> u64 {
        let spread = base / 10;
        let offset = (u128::from(self.draw()) * (u128::from(spread) * 2 + 1)) >> 64;
        (base - spread).saturating_add(u64::try_from(offset).unwrap_or(0))
    }
}
