//! FNV-1a. Pure.

/// A hash that no version of anything changes, for what has to be the same in every process. It is easy to find two texts
/// with the same one.
pub fn fnv1a(bytes: impl IntoIterator<Item = u8>) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, step)
}
