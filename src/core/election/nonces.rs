//! Numbers that name one write of the leader's key among all others.

/// Numbers that never repeat within one life, and practically never between two: a permutation of a counter that begins
/// at a random place.
#[derive(Debug)]
pub(super) struct Nonces(pub(super) u64);

impl Nonces {
    pub(super) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
