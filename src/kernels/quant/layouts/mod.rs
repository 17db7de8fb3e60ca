//! layouts: the block formats of GGUF files, one a file: how a stored block becomes codes and scales.

mod q3_k;
mod q4_0;
mod q4_1;
mod q4_k;
mod q5_0;
mod q5_1;
mod q5_k;
mod q6_k;
mod q8_0;

pub(super) use q3_k::Q3K;
pub(super) use q4_0::Q4_0;
pub(super) use q4_1::Q4_1;
pub(super) use q4_k::Q4K;
pub(super) use q5_0::Q5_0;
pub(super) use q5_1::Q5_1;
pub(super) use q5_k::Q5K;
pub(super) use q6_k::Q6K;
pub(super) use q8_0::Q8_0;

/// The f16 whose bits lie at `at`.
fn half(stored: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([stored[at], stored[at + 1]])
}

/// Value `value` of 32 in 16 bytes: the first half in the low, the second in the high halves of bytes.
fn nibble(bytes: &[u8], value: usize) -> u8 {
    bytes[value % 16] >> (4 * (value / 16)) & 15
}

/// Scale and shift multiple of block `block` out of the twelve bytes in which [`Q4K`] and [`Q5K`] keep eight of each.
fn six_bits(packed: &[u8], block: usize) -> (u8, u8) {
    if block < 4 {
        (packed[block] & 63, packed[block + 4] & 63)
    } else {
        (
            packed[block + 4] & 15 | packed[block - 4] >> 6 << 4,
            packed[block + 4] >> 4 | packed[block] >> 6 << 4,
        )
    }
}
